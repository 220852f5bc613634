# shellcheck shell=bash
# Who a worker is to its cluster: what deploy/kubernetes says, and the credentials that it shows.

# give_identities KUBECONFIG: makes all that a worker needs of that cluster, and what holds there for orders.
give_identities() {
  local log
  log=$(log_file identities)
  kubectl --kubeconfig="$1" --request-timeout=20s apply --kustomize "$ROOT/deploy/kubernetes" >"$log" 2>&1 ||
    fail "what deploy/kubernetes says could not be made on the cluster of $1" "$log"
}

# token_of KUBECONFIG ACCOUNT: a new token of that service account.
token_of() {
  local log
  log=$(log_file "token-$2")
  kubectl --kubeconfig="$1" --request-timeout=20s --namespace=vkube-system create token "$2" --duration=8760h 2>"$log" ||
    fail "the token of $2 could not be made" "$log"
}

# kubelet_token KUBECONFIG: what a worker shows to kubelets: a token that may read what their pods use, and nothing else.
kubelet_token() { token_of "$1" vkube-kubelet-stats; }

# worker_kubeconfig KUBECONFIG: what a worker reads, to be to that cluster whom deploy/kubernetes says that it is.
worker_kubeconfig() {
  local token
  token=$(token_of "$1" vkube-worker) || exit
  kubectl --kubeconfig="$1" config view --raw --minify --flatten --output=json | jq --arg token "$token" '
    .users = [{name: "vkube-worker", user: {token: $token}}] | .contexts[0].context.user = "vkube-worker"'
}
