# shellcheck shell=bash
# The product itself: one api, and one worker for the stack's region. All their settings are here.

API_URL=http://127.0.0.1:$API_PORT
OPERATOR_TOKEN_FILE=$STACK_HOME/vkube/operator-token
KUBELET_TOKEN_FILE=$STACK_HOME/vkube/kubelet-token
WORKER_KUBECONFIG=$STACK_HOME/vkube/worker-kubeconfig.yaml
# Names the kubeconfig of the cluster that dev/up was given; there is none where it is the stack's own.
GIVEN_CLUSTER_FILE=$STACK_HOME/vkube/cluster

random_hex() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

# keep_secret FILE: random bytes in hex, made once.
keep_secret() {
  if [ ! -s "$1" ]; then
    (umask 077 && random_hex >"$1.new")
    mv "$1.new" "$1"
  fi
}

# cluster_kubeconfig: that of the administrator of the cluster that the worker acts on.
cluster_kubeconfig() { cat "$GIVEN_CLUSTER_FILE" 2>/dev/null || printf '%s\n' "$ADMIN_KUBECONFIG"; }

# keep_printed FILE COMMAND...: keeps what it prints, for nobody else to read.
keep_printed() {
  local file=$1
  shift
  (umask 077 && "$@" >"$file.new") || exit
  mv "$file.new" "$file"
}

# spawn_with_settings NAME PROGRAM: with these and no other settings of vkube's.
spawn_with_settings() {
  local settings inherited
  mapfile -t settings < <("${1}_settings")
  mapfile -t inherited < <(compgen -e | sed -n '/^VKUBE_/s/^/--unset=/p')
  daemon "$1" env "${inherited[@]}" VKUBE_STACK_DAEMON="$STACK_HOME" "${settings[@]}" "$2"
}

# has_settings NAME: the running program has the settings that it would be started with.
has_settings() {
  diff <("${1}_settings" | sort) <(tr '\0' '\n' <"/proc/$(server_pid "$1")/environ" | grep '^VKUBE_' | grep -v '^VKUBE_STACK_DAEMON=' | sort)
}

api_ports() { printf '%s\n' "$API_PORT"; }
api_prepare() {
  mkdir -p "$STACK_HOME/vkube"
  keep_secret "$STACK_HOME/vkube/secret-key"
  keep_secret "$OPERATOR_TOKEN_FILE"
  psql_admin -f - <"$ROOT/deploy/postgres/roles.sql"
}
psql_admin() {
  PGCONNECT_TIMEOUT=10 as_postgres "$(postgres_bin)/psql" -q -X -h 127.0.0.1 -p "$POSTGRES_PORT" -d postgres "$@" 2>"$(log_file psql)" ||
    fail "PostgreSQL refused to make the database vkube" "$(log_file psql)"
}

api_settings() {
  cat <<TEXT
VKUBE_HTTP_LISTEN=127.0.0.1:$API_PORT
VKUBE_NATS_URL=$NATS_ADDRESS
VKUBE_NATS_NKEY_FILE=$(nats_key api)
VKUBE_NATS_CA_FILE=$(nats_ca)
VKUBE_POSTGRES_URL=${POSTGRES_ADDRESS/postgres@/vkube@}/vkube
VKUBE_POSTGRES_OWNER_URL=${POSTGRES_ADDRESS/postgres@/vkube_owner@}/vkube
VKUBE_OPERATOR_TOKENS=dev:$(<"$OPERATOR_TOKEN_FILE")
VKUBE_SECRET_KEY_FILES=$STACK_HOME/vkube/secret-key
VKUBE_LOG_FORMAT=json
VKUBE_LOG_LEVEL=${VKUBE_LOG_LEVEL:-info}
TEXT
  # With a foreign cluster the images come from where its nodes find them.
  if [ -e "$GIVEN_CLUSTER_FILE" ]; then return; fi
  cat <<TEXT
VKUBE_REGISTRY_MIRROR=$REGISTRY
VKUBE_REGISTRY_INSECURE_HOSTS=$REGISTRY,$PRIVATE_REGISTRY
TEXT
}
api_spawn() { spawn_with_settings api "$(binaries_dir)/vkube-api"; }
api_ready() { curl -sf -m 2 "$API_URL/readyz"; }

worker_ports() { printf '%s\n' "$WORKER_HEALTH_PORT"; }
worker_prepare() {
  mkdir -p "$STACK_HOME/vkube"
  keep_secret "$STACK_HOME/vkube/seal-key"
  keep_printed "$KUBELET_TOKEN_FILE" credentials "$(cluster_kubeconfig)" kubelet-token
  keep_printed "$WORKER_KUBECONFIG" credentials "$(cluster_kubeconfig)" kubeconfig
}
worker_settings() {
  # On the stack's own cluster the worker shares the machine with its only node.
  local scan_host=true
  if [ -e "$GIVEN_CLUSTER_FILE" ]; then scan_host=false; fi
  cat <<TEXT
VKUBE_REGION=$REGION
VKUBE_NATS_URL=$NATS_ADDRESS
VKUBE_NATS_NKEY_FILE=$(nats_key worker)
VKUBE_NATS_CA_FILE=$(nats_ca)
VKUBE_HEALTH_LISTEN=127.0.0.1:$WORKER_HEALTH_PORT
VKUBE_KUBE_KUBECONFIG=$WORKER_KUBECONFIG
VKUBE_KUBE_NAMESPACE=vkube-system
VKUBE_KUBELET_TOKEN_FILE=$KUBELET_TOKEN_FILE
VKUBE_SEAL_PRIVATE_KEY_FILES=$STACK_HOME/vkube/seal-key
VKUBE_PORTS_SCAN_HOST=$scan_host
VKUBE_LOG_FORMAT=json
VKUBE_LOG_LEVEL=${VKUBE_LOG_LEVEL:-info}
TEXT
}
worker_spawn() { spawn_with_settings worker "$(binaries_dir)/vkube-worker"; }
worker_ready() { curl -sf -m 2 "http://127.0.0.1:$WORKER_HEALTH_PORT/readyz"; }
