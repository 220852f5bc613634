# shellcheck shell=bash
# Starting and stopping servers. A server NAME is a few functions: NAME_spawn and NAME_ready, and where needed
# NAME_ports (which must be free), NAME_prepare (before it), NAME_started (once it answers), NAME_stop_signal.

READY_WITHIN=${VKUBE_DEV_READY_SECONDS:-90}
# Longer than the grace period of api and worker.
STOP_WITHIN=30

# of SERVER FUNCTION: calls the server's function where there is one.
of() {
  local function=${1//-/_}_$2
  if declare -F "$function" >/dev/null; then "$function"; fi
}

# require_ports NAME...: the ports of those that do not run yet are free.
require_ports() {
  local name port
  for name; do
    if runs "$name"; then continue; fi
    for port in $(of "$name" ports); do require_free_port "$name" "$port"; done
  done
}

spawn_server() {
  if runs "$1"; then return; fi
  mkdir -p "$STACK_RUN" "$LOGS"
  require_ports "$1"
  of "$1" prepare
  of "$1" spawn
}

# start_servers NAME...: starts them together and returns when every one answers.
start_servers() {
  local name begun complete
  begun=$(now_ms)
  for name; do spawn_server "$name"; done
  for name; do
    await "$name" "$READY_WITHIN" "its first answer" "${name//-/_}_ready"
    # Says of which process this was done; a killed run may have left a server half way.
    complete=$STACK_RUN/$name.complete
    if cmp -s "$(pid_file "$name")" "$complete"; then continue; fi
    of "$name" started
    cp "$(pid_file "$name")" "$complete"
    note "$name answers ($(seconds_since "$begun"))"
  done
}

stop_server() {
  local pid signal
  if pid=$(server_pid "$1"); then
    signal=$(of "$1" stop_signal)
    end_process "$pid" "${signal:-TERM}" "$STOP_WITHIN"
  fi
  rm -f "$(pid_file "$1")"
}

# stop_servers NAME...: the last started first.
stop_servers() {
  local index names=("$@")
  for ((index = ${#names[@]} - 1; index >= 0; index--)); do stop_server "${names[index]}"; done
}

start_infrastructure() { start_servers "${INFRASTRUCTURE[@]}"; }

start_cluster() {
  start_servers etcd containerd
  start_servers apiserver
  start_servers controller-manager scheduler kubelet
  start_servers volumes
}
