#!/usr/bin/env bash
# Builds the servers of dev/servers into a cache outside the checkout, each under a hash of all that it is built
# from, so that a server is built once for a user and never again until its module or its flags change.
#
#   dev/stack/build.sh [NAME...]    build what is missing (all servers when none is named)
set -euo pipefail
STACK_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=dev/stack/say.sh
. "$STACK_DIR/say.sh"

SERVERS_DIR=$(cd "$STACK_DIR/../servers" && pwd)
# Small ones first: a broken set-up shows itself in seconds, not after Kubernetes.
ALL_SERVERS=(nats registry images cni runc etcd containerd kubernetes)
SERVERS_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/vkube/servers
KUBERNETES_VERSION=$(awk '$1 == "k8s.io/kubernetes" { print substr($2, 2) }' "$SERVERS_DIR/kubernetes/go.mod")

# What a build may need on the disk, in MB: the module cache and what is compiled of it.
free_mb_for() {
  case $1 in
    kubernetes) printf '8000\n' ;;
    *) printf '2000\n' ;;
  esac
}

# build_settings NAME: sets cgo, tags and ldflags, all that a build depends on besides its module.
build_settings() {
  cgo=0 tags='' ldflags='-s -w'
  local version=k8s.io/component-base/version minor=${KUBERNETES_VERSION#*.}
  case $1 in
    kubernetes) ldflags+=" -X $version.gitVersion=v$KUBERNETES_VERSION -X $version.gitMajor=${KUBERNETES_VERSION%%.*} -X $version.gitMinor=${minor%%.*}" ;;
    containerd) tags='no_btrfs no_zfs no_devmapper' ;;
    runc) cgo=1 tags=seccomp ;;
  esac
}

# server_hash NAME: of everything that it is built from.
server_hash() {
  local cgo tags ldflags
  build_settings "$1"
  {
    printf '%s\n' "$cgo" "$tags" "$ldflags" "$(uname -m)"
    cd "$SERVERS_DIR/$1"
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  } | sha256sum | cut -c1-16
}

declare -A SERVER_DIRS
for server in "${ALL_SERVERS[@]}"; do SERVER_DIRS[$server]=$SERVERS_CACHE/$server-$(server_hash "$server"); done

# server_dir NAME: where its binaries are, or will be.
server_dir() { printf '%s\n' "${SERVER_DIRS[$1]}"; }

is_built() { [ -d "${SERVER_DIRS[$1]}" ]; }

# tools_of NAME: the programs that its module says are its tools.
tools_of() { awk '$1 == ")" { inside = 0 } inside { print $1 } $1 == "tool" && $2 == "(" { inside = 1 }' "$SERVERS_DIR/$1/go.mod"; }

# compile NAME FOLDER: each step says itself that it failed, as bash does not end a function whose outcome is asked for.
compile() {
  local name=$1 out=$2 cgo tags ldflags packages round
  build_settings "$name"
  case $name in
    images) packages=(./...) ;;
    # Two rounds: both use logrus, by names that differ in case, which one round refuses.
    kubernetes) packages=("$(tools_of kubernetes | grep '^k8s.io/')" "$(tools_of kubernetes | grep -v '^k8s.io/')") ;;
    *) packages=(tool) ;;
  esac
  cd "$SERVERS_DIR/$name" || return
  for round in "${packages[@]}"; do
    # shellcheck disable=SC2086 # several packages a round, names without spaces
    env GOFLAGS=-buildvcs=false GOWORK=off GOTOOLCHAIN=local CGO_ENABLED="$cgo" \
      nice -n "${VKUBE_DEV_NICE:-5}" go build -mod=readonly -trimpath -tags "$tags" -ldflags "$ldflags" -o "$out/" $round ||
      return
  done
}

build_server() {
  local name=$1 dir staging log free_mb wanted_mb
  dir=$(server_dir "$name")
  log=$SERVERS_CACHE/$name.log
  mkdir -p "$SERVERS_CACHE"
  # Two commands that want the same server: the second waits and finds it built.
  exec {lock}>"$SERVERS_CACHE/$name.lock"
  if ! flock -n "$lock"; then
    note "waiting for another build of $name"
    flock -w 3600 "$lock" || fail "another build of $name does not end (it holds $SERVERS_CACHE/$name.lock)"
  fi
  if [ -d "$dir" ]; then
    exec {lock}>&-
    return
  fi
  free_mb=$(df -Pm "$SERVERS_CACHE" | awk 'NR == 2 { print $4 }')
  wanted_mb=$(free_mb_for "$name")
  if [ "$free_mb" -lt "$wanted_mb" ]; then
    fail "the disk of $SERVERS_CACHE has $free_mb MB free and building $name wants $wanted_mb MB: free some, or set XDG_CACHE_HOME to a folder on another disk"
  fi
  # Under the lock nobody else builds this server: what is there of older attempts is rubbish.
  rm -rf "$SERVERS_CACHE/.building-$name"
  staging=$SERVERS_CACHE/.building-$name
  mkdir "$staging"
  patiently "building $name" "$log" compile "$name" "$staging" || fail "building $name failed" "$log"
  if [ "$name" = etcd ]; then mv "$staging/server" "$staging/etcd"; fi
  mv "$staging" "$dir"
  exec {lock}>&-
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  trap end_background EXIT
  trap 'exit 143' INT TERM HUP
  if [ $# = 0 ]; then set -- "${ALL_SERVERS[@]}"; fi
  for name; do
    if [[ " ${ALL_SERVERS[*]} " != *" $name "* ]]; then fail "there is no server '$name'; there are: ${ALL_SERVERS[*]}"; fi
    build_server "$name"
  done
fi
