# shellcheck shell=bash
# What a worker shows to kubelets: a token that may read what their pods use, and nothing else.

# kubelet_stats_token KUBECONFIG: makes its holder where it is not there yet, and prints a new token.
kubelet_stats_token() {
  local log
  log=$(log_file kubelet-stats)
  kubectl --kubeconfig="$1" --request-timeout=20s apply -f - >"$log" 2>&1 <<'YAML' || fail "the holder of the kubelet token could not be made" "$log"
apiVersion: v1
kind: ServiceAccount
metadata: {name: vkube-kubelet-stats, namespace: vkube-system}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: vkube-kubelet-stats}
rules:
- {apiGroups: [""], resources: [nodes/stats], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vkube-kubelet-stats}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: vkube-kubelet-stats}
subjects:
- {kind: ServiceAccount, name: vkube-kubelet-stats, namespace: vkube-system}
YAML
  kubectl --kubeconfig="$1" --request-timeout=20s --namespace=vkube-system create token vkube-kubelet-stats \
    --duration=8760h 2>"$log" || fail "the kubelet token could not be made" "$log"
}
