# shellcheck shell=bash
# The one node of the stack's cluster: its address, its cgroup, its kubelet.

kubelet_ports() { printf '%s\n' "$KUBELET_PORT" "$KUBELET_HEALTH_PORT"; }

# The node's address must not be a loopback one, and must be there whatever network the machine is in.
prepare_node_address() {
  if ! ip link show "$NODE_INTERFACE" >/dev/null 2>&1; then ip link add "$NODE_INTERFACE" type bridge; fi
  ip address replace "$NODE_ADDRESS/32" dev "$NODE_INTERFACE"
  ip link set "$NODE_INTERFACE" up
  # The port plugin opens the way from loopback itself, for the pods' bridge alone.
  sysctl -qw net.ipv4.ip_forward=1
}

# A parent cgroup of the stack's own: a kubelet deletes the pods that it does not know below its own parent.
prepare_cgroup() {
  local controller
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    # The kubelet wants its parent to have every controller that there is.
    for controller in $(</sys/fs/cgroup/cgroup.controllers); do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    done
    mkdir -p "/sys/fs/cgroup/$CGROUP"
    return
  fi
  for controller in /sys/fs/cgroup/*/; do
    if [ ! -e "$controller/cgroup.procs" ]; then continue; fi
    mkdir -p "$controller$CGROUP" 2>/dev/null || continue
    if [ -f "$controller/cpuset.mems" ]; then
      cat "$controller/cpuset.cpus" >"$controller$CGROUP/cpuset.cpus"
      cat "$controller/cpuset.mems" >"$controller$CGROUP/cpuset.mems"
    fi
  done
}

write_kubelet_config() {
  local home=$STACK_HOME/kubelet
  # Pods resolve names as the machine does.
  cp -L /etc/resolv.conf "$home/resolv.conf" 2>/dev/null || : >"$home/resolv.conf"
  cat >"$home/config.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $NODE_ADDRESS
port: $KUBELET_PORT
healthzPort: $KUBELET_HEALTH_PORT
tlsCertFile: $PKI/kubelet-server.crt
tlsPrivateKeyFile: $PKI/kubelet-server.key
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$CONTAINERD_SOCKET
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
podLogsDir: $home/pod-logs
volumePluginDir: $home/volume-plugins
resolvConf: $home/resolv.conf
clusterDNS: [10.96.0.10]
serializeImagePulls: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 200Mi, imagefs.available: 200Mi}
maxPods: 250
podPidsLimit: 1024
featureGates: {PodAndContainerStatsFromCRI: true}
YAML
}

kubelet_prepare() {
  mkdir -p "$STACK_HOME/kubelet/volume-plugins" "$STACK_HOME/kubelet/pod-logs"
  # Volumes mounted for pods must be seen by containers made later.
  if [ "$(findmnt -no PROPAGATION /)" != shared ]; then mount --make-rshared /; fi
  prepare_node_address
  prepare_cgroup
  write_kubelet_config
}

kubelet_spawn() {
  daemon kubelet "$(server_dir kubernetes)/kubelet" --config="$STACK_HOME/kubelet/config.yaml" \
    --kubeconfig="$STACK_HOME/kubeconfig/kubelet.yaml" --hostname-override="$NODE_NAME" --node-ip="$NODE_ADDRESS" \
    --root-dir="$STACK_HOME/kubelet/root" --cert-dir="$STACK_HOME/kubelet/pki" --node-labels="region=$REGION"
}

kubelet_ready() {
  curl -sf -m 2 "http://127.0.0.1:$KUBELET_HEALTH_PORT/healthz" &&
    [ "$(admin get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]
}
