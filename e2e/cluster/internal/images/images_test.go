package images

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func program(t *testing.T, folder, content string) string {
	t.Helper()
	path := filepath.Join(folder, "media-node")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheSameProgramGivesTheSameBytesWhereverAndWheneverItIsBuilt(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	extra := filepath.Join(first, "ca.pem")
	if err := os.WriteFile(extra, []byte("ca"), 0o600); err != nil {
		t.Fatal(err)
	}
	later := program(t, second, "elf")
	if err := os.Chtimes(later, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var archives [2][]byte
	for index, binary := range []string{program(t, first, "elf"), later} {
		archive := filepath.Join(filepath.Dir(binary), "image.tar")
		if _, err := Build(archive, "docker.io/a/b:1", binary, []File{{Source: extra, Destination: "/etc/ssl/ca.pem"}}); err != nil {
			t.Fatal(err)
		}
		archives[index], _ = os.ReadFile(archive)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the archives differ")
	}
}

func TestAnArchiveSaysItsNameAndDigestAndANewProgramHasAnother(t *testing.T) {
	folder := t.TempDir()
	archive := filepath.Join(folder, "image.tar")
	var digests []string
	for _, content := range []string{"one", "two"} {
		digest, err := Build(archive, "docker.io/a/b:1", program(t, folder, content), nil)
		if err != nil {
			t.Fatal(err)
		}
		contents, err := Contents(archive)
		if err != nil || !maps.Equal(contents, map[string]string{"docker.io/a/b:1": digest}) {
			t.Errorf("%v, %v", contents, err)
		}
		digests = append(digests, digest)
	}
	if digests[0] == digests[1] {
		t.Error("two programs, one digest")
	}
}

func TestFoldersComeBeforeTheirFilesAndOnlyProgramsAreExecutable(t *testing.T) {
	folder := t.TempDir()
	data := filepath.Join(folder, "data")
	if err := os.WriteFile(data, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	layer, err := layerOf([]File{{program(t, folder, "elf"), "/media-node"}, {data, "/etc/deep/data"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for reader := tar.NewReader(bytes.NewReader(layer)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, header.Name+" "+header.FileInfo().Mode().Perm().String())
	}
	want := []string{"etc/ -rwxr-xr-x", "etc/deep/ -rwxr-xr-x", "etc/deep/data -rw-r--r--", "media-node -rwxr-xr-x"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestNamesAreCompletedAsContainerToolsDo(t *testing.T) {
	for given, want := range map[string]string{
		"busybox:1":                "docker.io/library/busybox:1",
		"rtc-fleet/operator:dev":   "docker.io/rtc-fleet/operator:dev",
		"ghcr.io/a/b:1":            "ghcr.io/a/b:1",
		"localhost/a:1":            "localhost/a:1",
		"registry:5000/a:1":        "registry:5000/a:1",
		"docker.io/rtc-fleet/x:v2": "docker.io/rtc-fleet/x:v2",
	} {
		if got, err := FullName(given); got != want || err != nil {
			t.Errorf("%s: %s, %v", given, got, err)
		}
	}
	for _, bad := range []string{"", "operator", "a/b", "registry:5000/a", "a/b:", "a@sha256:0"} {
		if got, err := FullName(bad); err == nil || !strings.Contains(err.Error(), "NAME:TAG") {
			t.Errorf("%q became %q", bad, got)
		}
	}
}

func TestAnExtraFileNeedsASourceAndAnAbsoluteDestination(t *testing.T) {
	if got, err := ParseFile("a/b:/etc/../c"); err != nil || got != (File{"a/b", "/c"}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "a", "a:", ":/b", "a:b", "a:/b/"} {
		if _, err := ParseFile(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestANodeIsSkippedOnlyWhenItHasEveryImageWithThatDigest(t *testing.T) {
	present := parseListing("REF TYPE DIGEST SIZE PLATFORMS LABELS\n" +
		"docker.io/a:1 application/vnd.oci.image.manifest.v1+json sha256:aa 1.0 MiB linux/amd64 -\n")
	for name, row := range map[string]struct {
		wanted map[string]string
		want   bool
	}{
		"the same":           {map[string]string{"docker.io/a:1": "sha256:aa"}, true},
		"another build":      {map[string]string{"docker.io/a:1": "sha256:bb"}, false},
		"one more image":     {map[string]string{"docker.io/a:1": "sha256:aa", "docker.io/b:1": "sha256:bb"}, false},
		"an unknown archive": {nil, false},
	} {
		if got := hasAll(present, row.wanted); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
