# shellcheck shell=bash
# Kubernetes without its node: etcd, API server, controller manager, scheduler.

# admin COMMAND...: kubectl as the cluster's administrator.
admin() { kubectl --kubeconfig="$ADMIN_KUBECONFIG" --request-timeout=20s "$@"; }

etcd_ports() { printf '%s\n' "$ETCD_PORT" "$ETCD_PEER_PORT"; }
etcd_prepare() {
  mkdir -p "$STACK_HOME/etcd"
  chmod 700 "$STACK_HOME/etcd"
}
etcd_spawn() {
  daemon etcd "$(server_dir etcd)/etcd" --name "$STACK" --data-dir "$STACK_HOME/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "http://127.0.0.1:$ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$ETCD_PORT" \
    --listen-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" --initial-advertise-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" \
    --initial-cluster "$STACK=http://127.0.0.1:$ETCD_PEER_PORT"
}
etcd_ready() { curl -sf -m 2 "http://127.0.0.1:$ETCD_PORT/health"; }

apiserver_ports() { printf '%s\n' "$APISERVER_PORT"; }
apiserver_prepare() {
  prepare_pki
  # Every request with who asked for what, nothing of what was in it: the tests count requests in it.
  cat >"$STACK_HOME/audit-policy.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
YAML
}
apiserver_spawn() {
  daemon apiserver "$(server_dir kubernetes)/kube-apiserver" \
    --etcd-servers="http://127.0.0.1:$ETCD_PORT" \
    --bind-address=127.0.0.1 --secure-port="$APISERVER_PORT" --advertise-address="$NODE_ADDRESS" \
    --service-cluster-ip-range="$SERVICE_RANGE" \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
    --service-account-key-file="$PKI/service-account.pub" --service-account-signing-key-file="$PKI/service-account.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$PKI/apiserver-kubelet-client.key" --kubelet-certificate-authority="$PKI/ca.crt" \
    --kubelet-preferred-address-types=InternalIP \
    --audit-policy-file="$STACK_HOME/audit-policy.yaml" --audit-log-path="$AUDIT_LOG" \
    --audit-log-maxsize=200 --audit-log-maxbackup=1 --profiling=false \
    --shutdown-watch-termination-grace-period=1s
}
apiserver_ready() {
  curl -sf -m 5 --cacert "$PKI/ca.crt" --cert "$PKI/admin.crt" --key "$PKI/admin.key" \
    "https://127.0.0.1:$APISERVER_PORT/readyz"
}

controller_manager_ports() { printf '%s\n' "$CONTROLLER_MANAGER_PORT"; }
controller_manager_spawn() {
  daemon controller-manager "$(server_dir kubernetes)/kube-controller-manager" \
    --kubeconfig="$STACK_HOME/kubeconfig/controller-manager.yaml" --bind-address=127.0.0.1 \
    --secure-port="$CONTROLLER_MANAGER_PORT" \
    --service-account-private-key-file="$PKI/service-account.key" --root-ca-file="$PKI/ca.crt" \
    --use-service-account-credentials --leader-elect=false --profiling=false --kube-api-qps=200 --kube-api-burst=400
}
# A pod is refused while its namespace has no service account, and that is the controller manager's to make.
controller_manager_ready() {
  curl -sfk -m 2 "https://127.0.0.1:$CONTROLLER_MANAGER_PORT/healthz" && admin get serviceaccount default -n default
}

scheduler_ports() { printf '%s\n' "$SCHEDULER_PORT"; }
scheduler_spawn() {
  daemon scheduler "$(server_dir kubernetes)/kube-scheduler" --kubeconfig="$STACK_HOME/kubeconfig/scheduler.yaml" \
    --bind-address=127.0.0.1 --secure-port="$SCHEDULER_PORT" --leader-elect=false --profiling=false
}
scheduler_ready() { curl -sfk -m 2 "https://127.0.0.1:$SCHEDULER_PORT/healthz"; }
# What holds for orders is there before any worker is.
apiserver_started() { give_identities "$ADMIN_KUBECONFIG"; }
