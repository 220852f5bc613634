# shellcheck shell=bash
# What a killed run leaves behind: servers, shims and containers, mounts, network rules and devices, cgroups.
# Everything is recognised as this stack's by its folder, its mark or its name; nothing else is touched.

# The stack's cgroup in every hierarchy.
stack_cgroups() {
  local folder
  for folder in "/sys/fs/cgroup/$CGROUP" /sys/fs/cgroup/*/"$CGROUP"; do
    if [ -d "$folder" ]; then printf '%s\n' "$folder"; fi
  done
}

end_strays() {
  local pid
  for pid in $(strays); do
    if [ "$pid" != "$$" ]; then end_process "$pid" "$1" 5; fi
  done
}

end_containers() {
  local folder pid
  stack_cgroups | while read -r folder; do
    find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un | while read -r pid; do
      end_process "$pid" KILL 5
    done
  done
}

remove_cgroups() {
  local folder
  stack_cgroups | while read -r folder; do
    find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

unmount_all() {
  local target
  # Deepest first; a second look, as one mount may have hidden another.
  for _ in 1 2; do
    awk -v home="$STACK_HOME/" 'index($5, home) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r target; do
      umount "$target" 2>/dev/null || umount -l "$target" 2>/dev/null || true
    done
  done
}

# Host ports of pods that are no more would go on leading to nowhere, ahead of new ones.
remove_port_rules() {
  local line chain
  command -v iptables-save >/dev/null || return 0
  { iptables-save -t nat 2>/dev/null | grep -F "name: \\\"$POD_NETWORK\\\"" || true; } | while read -r line; do
    eval "iptables -w 5 -t nat -D ${line#-A }" 2>/dev/null || true
    chain=$(sed -n 's/.* -j \(CNI-[A-Za-z0-9-]*\).*/\1/p' <<<"$line")
    if [ -n "$chain" ]; then
      iptables -w 5 -t nat -F "$chain" 2>/dev/null || true
      iptables -w 5 -t nat -X "$chain" 2>/dev/null || true
    fi
  done
  if ! iptables-save -t nat 2>/dev/null | grep -q '^-A CNI-HOSTPORT-DNAT '; then remove_port_chains; fi
}

# The plugin's own chains, when no pod of anybody has a host port any more.
remove_port_chains() {
  local line chain
  { iptables-save -t nat 2>/dev/null | grep -E -- '-j CNI-HOSTPORT-(DNAT|MASQ)' || true; } | while read -r line; do
    eval "iptables -w 5 -t nat -D ${line#-A }" 2>/dev/null || true
  done
  for chain in CNI-HOSTPORT-DNAT CNI-HOSTPORT-MASQ CNI-HOSTPORT-SETMARK; do
    iptables -w 5 -t nat -F "$chain" 2>/dev/null || true
    iptables -w 5 -t nat -X "$chain" 2>/dev/null || true
  done
}

remove_devices() {
  local device file pod
  # The bandwidth plugin's device of a pod bears a hash of the network's and the pod's names.
  for file in "$STACK_RUN/pod-addresses/$POD_NETWORK"/*.*.*.*; do
    read -r pod 2>/dev/null <"$file" || continue
    device=bwp$(printf '%s%s' "$POD_NETWORK" "${pod%$'\r'}" | sha512sum | cut -c1-12)
    ip link delete "$device" 2>/dev/null || true
  done
  # One end of every pod's cable is in the bridge; the other went with its pod.
  for device in $({ ip -o link show master "$POD_BRIDGE" 2>/dev/null || true; } | awk -F'[ :@]+' '{ print $2 }'); do
    ip link delete "$device" 2>/dev/null || true
  done
  ip link delete "$POD_BRIDGE" 2>/dev/null || true
  ip link delete "$NODE_INTERFACE" 2>/dev/null || true
}

# clean_pods: what is left of pods once their runtime is gone.
clean_pods() {
  end_containers
  unmount_all
  remove_port_rules
  remove_devices
  remove_cgroups
}

# clean_leftovers: to be called when none of the stack's servers is wanted any more.
clean_leftovers() {
  end_strays TERM
  clean_pods
  rm -rf --one-file-system "$STACK_RUN" "$STACK_HOME/containerd/state" "$STACK_HOME/containerd/runc"
}

# purge_stack: forgets its data too.
purge_stack() {
  clean_leftovers
  if awk -v home="$STACK_HOME/" 'index($5, home) == 1 { found = 1 } END { exit !found }' /proc/self/mountinfo; then
    fail "something is still mounted below $STACK_HOME, and it would be deleted with it: see 'grep $STACK_HOME /proc/self/mountinfo'"
  fi
  rm -rf --one-file-system "$STACK_HOME"
}
