# shellcheck shell=bash
# What a person's shell and the e2e tests are told about a stack.

# Where cargo, called in the checkout, puts what it builds.
# target_dir: where cargo puts what it builds.
target_dir() {
  local target=${CARGO_TARGET_DIR:-target}
  if [[ $target != /* ]]; then target=$ROOT/$target; fi
  printf '%s\n' "$target"
}

binaries_dir() { printf '%s/debug\n' "$(target_dir)"; }

# build_with_fail_points OPTION...: the product, and what breaks it on purpose.
build_with_fail_points() {
  cargo build --locked --package api --package workers --package cli --package e2e --bins \
    --features api/failpoints,workers/failpoints "$@"
}

# export_line NAME VALUE
export_line() { printf 'export %s=%q\n' "$1" "$2"; }

print_test_environment() {
  export_line VKUBE_E2E_STACK "$STACK"
  export_line VKUBE_E2E_REGION "$REGION"
  export_line VKUBE_E2E_NATS_SERVER "$(server_dir nats)/nats-server"
  export_line VKUBE_E2E_DATABASE_URL "$POSTGRES_ADDRESS/postgres"
  export_line VKUBE_E2E_KUBECONFIG "$ADMIN_KUBECONFIG"
  export_line VKUBE_E2E_NODE_ADDRESS "$NODE_ADDRESS"
  export_line VKUBE_E2E_REGISTRY "$REGISTRY"
  export_line VKUBE_E2E_PRIVATE_REGISTRY "$PRIVATE_REGISTRY"
  export_line VKUBE_E2E_PRIVATE_REGISTRY_USERNAME "$PRIVATE_REGISTRY_USERNAME"
  export_line VKUBE_E2E_PRIVATE_REGISTRY_PASSWORD "$PRIVATE_REGISTRY_PASSWORD"
  export_line VKUBE_E2E_AUDIT_LOG "$AUDIT_LOG"
  export_line VKUBE_E2E_LOGS "$LOGS"
  export_line VKUBE_E2E_API_BINARY "$(binaries_dir)/vkube-api"
  export_line VKUBE_E2E_WORKER_BINARY "$(binaries_dir)/vkube-worker"
  export_line VKUBE_E2E_CLI_BINARY "$(binaries_dir)/vkube"
  export_line VKUBE_E2E_CONTROL "$STACK_DIR/control"
}
