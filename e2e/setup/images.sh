#!/bin/sh
# Builds both programs as static binaries, makes images of them, and brings them to the cluster.
# The tag is a hash of the program: what has not changed is not rolled out. Prints OPERATOR_TAG=… and MEDIA_NODE_TAG=…
# into the file named by the first argument.
set -eu
. "$(dirname "$0")/lib.sh"
out=$1
target=$(rustc -vV | sed -n 's/^host: //p')

if foreign_cluster; then
    [ -n "${IMAGE_REGISTRY:-}" ] || fail "KUBECONFIG names a cluster that images must be pushed to" \
        "set IMAGE_REGISTRY to a registry that it pulls from, such as registry.example.org/team"
    command -v buildah >/dev/null || fail "no buildah in PATH, which pushes the images" "apt-get install buildah"
fi

step "building operator and media-node (first time about 6 minutes on 2 cores, later as much as has changed)"
cd "$repository"
RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --locked --release --target "$target" -p operator -p media-node ||
    fail "the build failed" "the compiler's messages are above"

programs=$repository/target/$target/release
archives=$cache/images
mkdir -p "$archives"
: >"$out"
for program in operator media-node; do
    tag=dev-$(sha256sum "$programs/$program" | cut -c 1-12)
    printf '%s=%s\n' "$(printf '%s_TAG' "$program" | tr 'a-z-' 'A-Z_')" "$tag" >>"$out"
    if foreign_cluster; then
        step "pushing $IMAGE_REGISTRY/$program:$tag"
        context=$(mktemp -d)
        cp "$programs/$program" "$context/program"
        printf 'FROM scratch\nCOPY program /%s\nUSER 65532:65532\nENTRYPOINT ["/%s"]\n' "$program" "$program" >"$context/Containerfile"
        buildah --storage-driver vfs build --quiet --isolation chroot -t "$IMAGE_REGISTRY/$program:$tag" "$context" >/dev/null
        rm -rf "$context"
        buildah --storage-driver vfs push "$IMAGE_REGISTRY/$program:$tag" ||
            fail "$IMAGE_REGISTRY/$program:$tag was not pushed" "log in first: buildah login ${IMAGE_REGISTRY%%/*}" \
                "a registry without TLS has to be named in /etc/containers/registries.conf as insecure"
        buildah --storage-driver vfs rmi --force "$IMAGE_REGISTRY/$program:$tag" >/dev/null || true
    else
        archive=$archives/$program-$tag.tar
        if [ ! -e "$archive" ]; then
            rm -f "$archives/$program"-dev-*.tar
            "$rtc_cluster" image build --tag "rtc-fleet/$program:$tag" --file "$archive" "$programs/$program" >/dev/null
        fi
        "$rtc_cluster" image load "$archive" >/dev/null
        echo "rtc-fleet/$program:$tag is on every machine"
    fi
done
