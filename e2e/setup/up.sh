#!/bin/sh
# The last part of `make up`: the quick start's regions and a test call, and where to go from here.
set -eu
. "$(dirname "$0")/lib.sh"

if foreign_cluster; then
    cat <<END

The operator runs in namespace $system_namespace. Next, a region:
  1. label its machines: kubectl label node NAME topology.kubernetes.io/region=centralindia (clouds do that themselves)
  2. a secret: kubectl -n NAMESPACE create secret generic turn-auth --from-literal=current=\$(head -c 24 /dev/urandom | base64)
  3. a TurnRegion: start from docs/examples/turnregion-centralindia.yaml
END
    exit 0
fi
"$repository/e2e/setup/quickstart.sh"
cat <<END

Up. To use it:  export KUBECONFIG=$state/kubeconfig PATH=$state/bin:\$PATH
                kubectl -n rtc get turnregion -o wide
To remove it:   make down
END
