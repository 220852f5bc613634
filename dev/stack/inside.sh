#!/usr/bin/env bash
# The first process of a test stack: makes its new namespaces a small machine, then collects what ends in them.
# Everything in them ends with it.
set -euo pipefail
STACK_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=dev/stack/instance.sh
. "$STACK_DIR/instance.sh"

# Folders that Kubernetes' parts write to wherever their own are: here each stack has its own.
PRIVATE_FOLDERS=(/var/lib/cni /var/lib/kubelet /var/log/containers /var/log/pods)

mount --make-rshared /
mount -t tmpfs -o mode=755 vkube-run /run
mkdir -p /run/netns /run/lock
mount -t tmpfs -o mode=1777 vkube-shm /dev/shm
for folder in "${PRIVATE_FOLDERS[@]}"; do
  mkdir -p "$folder" "$STACK_HOME/private$folder"
  mount --bind "$STACK_HOME/private$folder" "$folder"
done
ip link set lo up
touch "$STACK_RUN/namespaces-ready"

# Bash collects every orphan of its namespace while it waits.
while :; do
  sleep 3600 &
  wait $! || true
done
