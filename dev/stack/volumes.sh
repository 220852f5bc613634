# shellcheck shell=bash
# The volume provisioner: a folder below the stack's for each claim, and the cluster's default storage class.

volumes_prepare() {
  local home=$STACK_HOME/volumes
  mkdir -p "$home/claims"
  printf '{"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": ["%s/claims"]}]}\n' "$home" >"$home/config.json"
  cat >"$home/helper-pod.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata: {name: helper-pod}
spec:
  priorityClassName: system-node-critical
  containers:
  - {name: helper-pod, image: "busybox:1", imagePullPolicy: IfNotPresent}
YAML
  admin apply -f - >"$(log_file volumes-objects)" 2>&1 <<YAML || fail "the objects of the volume provisioner were refused" "$(log_file volumes-objects)"
apiVersion: v1
kind: Namespace
metadata: {name: local-path-storage}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: local-path-provisioner-service-account, namespace: local-path-storage}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: local-path-config, namespace: local-path-storage}
data:
  config.json: '$(<"$home/config.json")'
  setup: |
    #!/bin/sh
    mkdir -m 0777 -p "\$VOL_DIR"
  teardown: |
    #!/bin/sh
    rm -rf "\$VOL_DIR"
  helperPod.yaml: |
$(sed 's/^/    /' "$home/helper-pod.yaml")
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: local-path
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: rancher.io/local-path
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
YAML
}

volumes_spawn() {
  local home=$STACK_HOME/volumes
  daemon volumes "$(server_dir kubernetes)/local-path-provisioner" start --config "$home/config.json" \
    --configmap-name local-path-config --namespace local-path-storage --helper-image busybox:1 \
    --helper-pod-file "$home/helper-pod.yaml" --kubeconfig "$ADMIN_KUBECONFIG"
}

# It has no address to ask; it takes claims from the moment that it holds its lease, which its log of this life says.
volumes_ready() {
  admin get storageclass local-path &&
    tail -c "+$(($(<"$STACK_RUN/volumes.log-begin") + 1))" "$(log_file volumes)" | grep 'Started provisioner controller'
}
