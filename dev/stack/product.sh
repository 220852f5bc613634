# shellcheck shell=bash
# What dev/up and dev/down do besides starting single servers: building the workspace, telling what runs and
# still fits, stopping everything.

# lock_stack: one dev/up or dev/down at a time. What a killed one left working (a request of the demo) ends soon.
lock_stack() {
  local file=$STACKS_HOME/$STACK.lock owner known
  install -d -m 755 "$STACKS_HOME" "$STACK_HOME"
  exec {STACK_LOCK}<>"$file"
  if ! flock -n "$STACK_LOCK"; then
    read -r owner known <"$file" || true
    if [ -n "${known:-}" ] && [ "$(identity "$owner")" = "$known" ]; then
      fail "another dev/up or dev/down is at work (process $owner, which holds $file)"
    fi
    note "waiting for the end of what a killed dev/up left working"
    flock -w 90 "$STACK_LOCK" || fail "something that a killed dev/up left working does not end: see 'fuser $file'"
  fi
  printf '%s %s\n' "$$" "$(identity "$$")" >"$file"
}

build_workspace() {
  local log=$LOGS/cargo.log hint=''
  mkdir -p "$LOGS"
  if [ ! -x "$(binaries_dir)/vkube-api" ]; then hint=' (the first time: some minutes)'; fi
  say "==> building the workspace$hint"
  patiently "cargo build" "$log" env -C "$ROOT" cargo build --locked --package api --package workers --package cli ||
    fail "the workspace does not build" "$log"
}

# region_is_known: the worker is ready, and the api has heard of it.
region_is_known() { curl -sf -m 2 "$API_URL/api/v1/k8s/regions" | jq -e --arg region "$REGION" 'index($region) != null'; }

nothing_runs() {
  local name
  for name in "${INFRASTRUCTURE[@]}" "${CLUSTER[@]}" "${PRODUCT[@]}"; do
    if runs "$name"; then return 1; fi
  done
}

# program_of NAME: the program file that the server runs.
program_of() { readlink "/proc/$(server_pid "$1")/exe"; }

# fits NAME: the running server is of what is built now, and has the settings of now.
fits() {
  local program
  program=$(program_of "$1") || return 1
  if [[ $program = *' (deleted)' ]]; then return 1; fi
  case $1 in
    api | worker) [ "$program" = "$(realpath "$(binaries_dir)/vkube-$1")" ] && has_settings "$1" >/dev/null ;;
    nats) [[ " ${SERVER_DIRS[*]} " = *" $(dirname "$program") "* ]] && nats_users | cmp -s - "$NATS_HOME/users.conf" ;;
    *) [[ $program != "$SERVERS_CACHE"/* || " ${SERVER_DIRS[*]} " = *" $(dirname "$program") "* ]] ;;
  esac
}

# stop_what_does_not_fit WANTED...: servers built anew meanwhile, and those that this run does not want.
stop_what_does_not_fit() {
  local name unfit=()
  for name in "${INFRASTRUCTURE[@]}" "${CLUSTER[@]}" "${PRODUCT[@]}"; do
    if ! runs "$name"; then continue; fi
    if [[ " $* " = *" $name "* ]] && fits "$name"; then continue; fi
    unfit+=("$name")
  done
  if [ ${#unfit[@]} -gt 0 ]; then
    note "stopping ${unfit[*]}: not what is wanted now"
    stop_servers "${unfit[@]}"
  fi
  # Pods live on without their runtime, and nobody would look after them.
  if [[ " $* " != *" containerd "* ]]; then clean_pods; fi
}

# choose_cluster FILE: which cluster the worker acts on; empty = the stack's own.
choose_cluster() {
  mkdir -p "$STACK_HOME/vkube"
  if [ -n "$1" ]; then realpath "$1" >"$GIVEN_CLUSTER_FILE"; else rm -f "$GIVEN_CLUSTER_FILE"; fi
}

# require_given_cluster FILE: it answers, and has a node where the region's pods may run.
require_given_cluster() {
  local log=$LOGS/given-cluster.log
  mkdir -p "$LOGS"
  if [ ! -r "$1" ]; then fail "the kubeconfig $1 cannot be read"; fi
  say "==> using the cluster of $1 (context $(kubectl --kubeconfig="$1" config current-context 2>/dev/null || printf '?'))"
  kubectl --kubeconfig="$1" --request-timeout=10s get nodes -l "region=$REGION" -o name >"$log" 2>&1 ||
    fail "the cluster of $1 does not answer" "$log"
  if ! grep -q '^node/' "$log"; then
    fail "no node of that cluster is in region $REGION: say which are with 'kubectl label node NAME region=$REGION'"
  fi
  give_identities "$1"
}

stop_everything() {
  stop_servers "${INFRASTRUCTURE[@]}" "${CLUSTER[@]}" "${PRODUCT[@]}"
  clean_leftovers
}
