# shellcheck shell=bash
# The steps of dev/test. Each writes to a log of its own and says how long it took; the first that fails ends the run.

# shellcheck disable=SC2034 # read by dev/test
ALL_CHECKS=(fmt clippy unit doc deny shell compose fuzz e2e chaos)
CARGO_DENY_VERSION=0.20.2
# How long each fuzz target is tried: enough to find what any few thousand inputs find.
FUZZ_SECONDS=3
SERVERS_BUILD=''

# Tests wait more than they compute.
E2E_THREADS=${VKUBE_E2E_THREADS:-8}

# The seed of the short run of the chaos suite.
CHAOS_SEED=1

make_check_folder() { CHECKS=$(mktemp -d "${TMPDIR:-/tmp}/vkube-test.XXXXXX"); }

on_exit() {
  local status=$?
  trap - EXIT
  end_background
  if [ -n "$SERVERS_BUILD" ]; then kill "$SERVERS_BUILD" 2>/dev/null || true; fi
  if [ "$status" != 0 ]; then say "the logs are in $CHECKS"; fi
  print_summary "$status"
  if [ "$status" = 0 ]; then rm -rf "$CHECKS"; fi
  exit "$status"
}

# logged NAME COMMAND...: to the terminal and to the log of the step.
logged() {
  local log=$CHECKS/$1.log status=0
  shift
  in_background copied "$log" "$@"
  wait "$BACKGROUND" || status=$?
  BACKGROUND=''
  return "$status"
}

copied() {
  local log=$1
  shift
  "$@" 2>&1 | tee -a "$log"
}

wanted() { [[ " ${STEPS[*]} " = *" $1 "* ]]; }

# prepare_checks: what the wanted steps need of the machine.
prepare_checks() {
  debian_packages gcc libc6-dev ca-certificates
  install_cargo
  if wanted fmt; then install_rust_component rustfmt; fi
  if wanted clippy; then install_rust_component clippy; fi
  if wanted e2e || wanted chaos; then
    install_all
    build_servers_meanwhile
  fi
}

run_check() {
  local begun
  begun=$(now_ms)
  say "==> $1"
  "check_$1"
  note "$1: $(seconds_since "$begun")"
}

check_fmt() { logged fmt cargo fmt --all --check || fail "the code is not formatted: cargo fmt --all"; }

check_clippy() {
  logged clippy cargo clippy --locked --workspace --all-targets -- -D warnings || fail "clippy finds fault"
}

# These tests start a nats-server and a PostgreSQL of their own.
check_unit() {
  debian_packages postgresql openssl util-linux faketime python3
  install_go
  build_server nats
  VKUBE_NATS_SERVER=$(server_dir nats)/nats-server logged unit cargo test --locked --workspace --exclude e2e --no-fail-fast ||
    fail "a test fails"
  logged unit cargo test --locked --package e2e --lib || fail "a test of the harness fails"
}

check_doc() {
  RUSTDOCFLAGS='-D warnings' logged doc cargo doc --locked --workspace --no-deps || fail "the documentation does not build"
}

# Licences, sources and what must be nobody's dependency; advisories where their database can be had.
check_deny() {
  local log=$CHECKS/deny-advisories.log
  cargo_tool cargo-deny "$CARGO_DENY_VERSION"
  logged deny cargo deny --locked check bans licenses sources || fail "something is compiled in that must not be: see deny.toml"
  if cargo deny --locked check advisories >"$log" 2>&1; then
    note "no advisory is open"
  elif grep -q 'failed to fetch advisory database' "$log"; then
    note "advisories: not looked at, as their database cannot be reached"
  else
    fail "an advisory is open: see deny.toml" "$log"
  fi
}

shell_files() {
  printf '%s\n' .ci/run dev/up dev/down dev/env dev/test dev/chaos dev/fuzz dev/release dev/stack/control dev/stack/test-stack
  find dev deploy -name '*.sh'
}

check_shell() {
  local files
  debian_packages shellcheck
  mapfile -t files < <(shell_files)
  logged shell shellcheck -x "${files[@]}" || fail "shellcheck finds fault"
}

# settings_in FILE...: the names of settings that these files set.
settings_in() { sed -nE 's/^ *(ENV |- \{name: )?(VKUBE_[A-Z_]+)[:=,].*/\2/p' "$@" | sort -u; }

# Without an engine: only that the file is what compose understands, and that the settings set here and there exist.
check_compose() {
  local compose=(docker compose) name
  if ! docker compose version >/dev/null 2>&1; then
    debian_packages docker-compose
    compose=(docker-compose)
  fi
  VKUBE_OPERATOR_TOKEN=checked logged compose "${compose[@]}" --file docker-compose.yml config --quiet || fail "docker-compose.yml is not understood"
  for name in $(settings_in docker-compose.yml api/Dockerfile workers/Dockerfile deploy/kubernetes/worker/worker.yaml dev/stack/vkube.sh); do
    grep -q "^| \`$name\`" docs/SETTINGS.md || fail "there is no setting $name: see docs/SETTINGS.md"
  done
}

# The servers are built beside the steps that need none.
build_servers_meanwhile() {
  bash "$STACK_DIR/build.sh" >"$CHECKS/servers.log" 2>&1 </dev/null &
  SERVERS_BUILD=$!
}

servers_are_built() {
  local pid=$SERVERS_BUILD
  if [ -z "$pid" ]; then return; fi
  wait "$pid" || fail "the servers could not be built" "$CHECKS/servers.log"
  SERVERS_BUILD=''
}

check_fuzz() {
  logged fuzz "$ROOT/dev/fuzz" --seconds "$FUZZ_SECONDS" || fail "some input breaks what must hold"
}

check_e2e() {
  local log=$CHECKS/e2e-build.log
  # Of the whole workspace as in the steps before: so most of it is compiled.
  local tests=(cargo test --locked --workspace --test e2e)
  patiently "building the binaries" "$log" cargo build --locked --package api --package workers --package cli || fail "the workspace does not build" "$log"
  patiently "building the e2e tests" "$log" "${tests[@]}" --no-run || fail "the e2e tests do not build" "$log"
  servers_are_built
  logged e2e "$STACK_DIR/test-stack" run -- "${tests[@]}" --offline -- --test-threads="$E2E_THREADS" || fail "an e2e test fails"
}

# A short run that is always the same: 'dev/chaos' runs longer ones, with the binaries of a release.
check_chaos() {
  local log=$CHECKS/chaos-build.log
  patiently "building the binaries with fail points" "$log" build_with_fail_points || fail "the workspace does not build" "$log"
  servers_are_built
  logged chaos "$STACK_DIR/test-stack" run -- "$(binaries_dir)/chaos" --seed "$CHAOS_SEED" --minutes 1 --mixed ||
    fail "something that must always hold did not"
}

# counted WORD: the numbers before it in the results of every test run, added up.
counted() { { cat "$CHECKS"/*.log 2>/dev/null || true; } | sed -n "s/^test result:.* \([0-9]*\) $1;.*/\1/p" | awk '{ n += $1 } END { print n + 0 }'; }

# print_summary STATUS: the last line is the numbers' alone. A step that fails in another way than by a test counts as one.
print_summary() {
  local failed
  failed=$(counted failed)
  if [ "$1" = 0 ]; then
    say "==> ${STEPS[*]}: all well in $(seconds_since "$ALL_BEGUN")"
  else
    say "==> failed after $(seconds_since "$ALL_BEGUN")"
    if [ "$failed" = 0 ]; then failed=1; fi
  fi
  printf '%d passed, %d failed\n' "$(counted passed)" "$failed"
}
