# shellcheck shell=bash
# The container runtime with its network plugins: own folders, own socket, our runc and shim.

CONTAINERD_SOCKET=$STACK_RUN/containerd.sock

# mirror HOST URL: where containerd finds the images of that registry host.
mirror() {
  mkdir -p "$STACK_HOME/containerd/certs.d/$1"
  cat >"$STACK_HOME/containerd/certs.d/$1/hosts.toml" <<TOML
server = "$2"
[host."$2"]
capabilities = ["pull", "resolve"]
TOML
}

write_pod_network() {
  mkdir -p "$STACK_HOME/cni"
  cat >"$STACK_HOME/cni/10-vkube.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "$POD_NETWORK", "plugins": [
  {"type": "bridge", "bridge": "$POD_BRIDGE", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$STACK_RUN/pod-addresses",
            "ranges": [[{"subnet": "$POD_RANGE"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "backend": "iptables", "snat": true, "capabilities": {"portMappings": true}},
  {"type": "bandwidth", "capabilities": {"bandwidth": true}}
]}
JSON
}

write_containerd_config() {
  local home=$STACK_HOME/containerd
  cat >"$home/config.toml" <<TOML
version = 3
root = "$home/root"
state = "$home/state"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "$CONTAINERD_SOCKET"

[plugins.'io.containerd.internal.v1.opt']
path = "$home/opt"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "docker.io/library/pause:1"

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "$home/certs.d"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
tolerate_missing_hugetlb_controller = true
netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["$(server_dir cni)"]
conf_dir = "$STACK_HOME/cni"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "$(server_dir runc)/runc"
Root = "$home/runc"
TOML
}

containerd_prepare() {
  mkdir -p "$STACK_HOME/containerd/root" "$STACK_RUN"
  mirror docker.io "http://$REGISTRY"
  mirror "$REGISTRY" "http://$REGISTRY"
  mirror "$PRIVATE_REGISTRY" "http://$PRIVATE_REGISTRY"
  write_pod_network
  write_containerd_config
}

containerd_spawn() {
  daemon containerd env PATH="$(server_dir runc):$(server_dir containerd):$PATH" \
    "$(server_dir containerd)/containerd" --config "$STACK_HOME/containerd/config.toml"
}

containerd_ready() { "$(server_dir containerd)/ctr" -a "$CONTAINERD_SOCKET" --timeout 2s version; }
