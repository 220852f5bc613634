#!/bin/sh
# credentials.sh kubeconfig|kubelet-token: prints, good for a year, what a worker shows that is no pod of its cluster: to the API
# server (VKUBE_KUBE_KUBECONFIG) as the service account vkube-worker, or to kubelets (VKUBE_KUBELET_TOKEN_FILE). kubectl acts
# as the cluster's administrator; what `kubectl apply -k deploy/kubernetes` makes must be there.
set -eu

token_of() { kubectl --request-timeout=20s --namespace=vkube-system create token "$1" --duration=8760h; }

case ${1-} in
  kubelet-token) token_of vkube-kubelet-stats ;;
  kubeconfig)
    cluster=$(kubectl config view --raw --minify --flatten --output=jsonpath='{.clusters[0].cluster}')
    token=$(token_of vkube-worker)
    cat <<YAML
apiVersion: v1
kind: Config
clusters: [{name: region, cluster: $cluster}]
users: [{name: vkube-worker, user: {token: "$token"}}]
contexts: [{name: vkube-worker, context: {cluster: region, user: vkube-worker}}]
current-context: vkube-worker
YAML
    ;;
  *)
    echo "usage: $0 kubeconfig|kubelet-token" >&2
    exit 2
    ;;
esac
