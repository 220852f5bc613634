# shellcheck shell=bash
# Who a worker is to its cluster: what deploy/kubernetes says, and the credentials that it shows.

# give_identities KUBECONFIG: makes all that a worker needs of that cluster, and what holds there for orders.
give_identities() {
  local log
  log=$(log_file identities)
  kubectl --kubeconfig="$1" --request-timeout=20s apply --kustomize "$ROOT/deploy/kubernetes" >"$log" 2>&1 ||
    fail "what deploy/kubernetes says could not be made on the cluster of $1" "$log"
}

# credentials KUBECONFIG WHAT: what a worker shows to that cluster's API server (kubeconfig) or kubelets (kubelet-token).
credentials() {
  local log
  log=$(log_file "credentials-$2")
  KUBECONFIG=$1 "$ROOT/deploy/kubernetes/credentials.sh" "$2" 2>"$log" || fail "the worker's $2 could not be made" "$log"
}
