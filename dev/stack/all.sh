# shellcheck shell=bash
# Every part of a stack, for the commands that start, stop or ask it.
set -Eeuo pipefail
# PostgreSQL, which is another user, and containers read what is made here; what is secret says so itself.
umask 022
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=dev/stack/build.sh
. "$HERE/build.sh"
# shellcheck source=dev/stack/instance.sh
. "$HERE/instance.sh"
# shellcheck source=dev/stack/install.sh
. "$HERE/install.sh"
# shellcheck source=dev/stack/process.sh
. "$HERE/process.sh"
# shellcheck source=dev/stack/servers.sh
. "$HERE/servers.sh"
# shellcheck source=dev/stack/postgres.sh
. "$HERE/postgres.sh"
# shellcheck source=dev/stack/nats.sh
. "$HERE/nats.sh"
# shellcheck source=dev/stack/images.sh
. "$HERE/images.sh"
# shellcheck source=dev/stack/registry.sh
. "$HERE/registry.sh"
# shellcheck source=dev/stack/pki.sh
. "$HERE/pki.sh"
# shellcheck source=dev/stack/control-plane.sh
. "$HERE/control-plane.sh"
# shellcheck source=dev/stack/containerd.sh
. "$HERE/containerd.sh"
# shellcheck source=dev/stack/kubelet.sh
. "$HERE/kubelet.sh"
# shellcheck source=dev/stack/identities.sh
. "$HERE/identities.sh"
# shellcheck source=dev/stack/volumes.sh
. "$HERE/volumes.sh"
# shellcheck source=dev/stack/vkube.sh
. "$HERE/vkube.sh"
# shellcheck source=dev/stack/environment.sh
. "$HERE/environment.sh"
# shellcheck source=dev/stack/leftovers.sh
. "$HERE/leftovers.sh"

# No command ends without a sentence, not even where nobody thought of a failure.
trap 'say "FAILED: $(realpath --relative-to="$ROOT" "${BASH_SOURCE[0]}") line $LINENO: $BASH_COMMAND"' ERR
