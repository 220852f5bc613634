# shellcheck shell=bash
# The certificates and kubeconfigs of the stack's Kubernetes: made once, kept until the stack is purged.

issue_certificate() { # NAME SUBJECT [ALTERNATIVE NAMES]
  local extensions='extendedKeyUsage=serverAuth,clientAuth'
  if [ -n "${3:-}" ]; then extensions+=$'\n'"subjectAltName=$3"; fi
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -subj "$2" -out "$1.csr" || return
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
    -extfile <(printf '%s\n' "$extensions")
}

# make_authority NAME: what issue_certificate signs with, in this folder.
make_authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -keyout ca.key -out ca.crt -subj "/CN=$1"
}

# client_kubeconfig NAME: what the holder of that certificate reads.
client_kubeconfig() {
  local dir=$STACK_HOME/kubeconfig
  mkdir -p "$dir"
  cat >"$dir/$1.yaml.new" <<YAML
apiVersion: v1
kind: Config
current-context: vkube-$STACK
clusters:
- name: vkube-$STACK
  cluster:
    server: https://127.0.0.1:$APISERVER_PORT
    certificate-authority-data: $(base64 -w0 <"$PKI/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 <"$PKI/$1.crt")
    client-key-data: $(base64 -w0 <"$PKI/$1.key")
contexts:
- name: vkube-$STACK
  context: {cluster: vkube-$STACK, user: $1}
YAML
  chmod 600 "$dir/$1.yaml.new"
  mv "$dir/$1.yaml.new" "$dir/$1.yaml"
}

# openssl ARGUMENT...: as of yesterday: a clock that is behind, or set back by a test, finds the certificates valid.
openssl() { faketime -f -1d openssl "$@"; }

# make_certificates: each step says itself that it failed, as bash does not end a function whose outcome is asked for.
make_certificates() {
  umask 077
  make_authority "vkube-$STACK" &&
    issue_certificate apiserver /CN=kube-apiserver \
      "IP:127.0.0.1,IP:10.96.0.1,IP:$NODE_ADDRESS,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc,DNS:$NODE_NAME" &&
    issue_certificate apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client &&
    issue_certificate kubelet-server "/CN=$NODE_NAME" "IP:127.0.0.1,IP:$NODE_ADDRESS,DNS:$NODE_NAME" &&
    issue_certificate admin /O=system:masters/CN=admin &&
    issue_certificate kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" &&
    issue_certificate controller-manager /CN=system:kube-controller-manager &&
    issue_certificate scheduler /CN=system:kube-scheduler &&
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out service-account.key &&
    openssl pkey -in service-account.key -pubout -out service-account.pub
}

prepare_pki() {
  local name
  if [ ! -d "$PKI" ]; then
    rm -rf "$PKI.new"
    mkdir -p "$PKI.new" "$LOGS"
    (cd "$PKI.new" && make_certificates) >"$(log_file pki)" 2>&1 ||
      fail "the certificates of Kubernetes could not be made" "$(log_file pki)"
    mv "$PKI.new" "$PKI"
  fi
  for name in admin kubelet controller-manager scheduler; do client_kubeconfig "$name"; done
}
