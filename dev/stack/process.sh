# shellcheck shell=bash
# The processes of a stack. Each is remembered by its id and by when it began, so that an id that was given to
# somebody else meanwhile is never mistaken for it, and carries the stack's folder in its environment, so that
# one that nobody remembered is found all the same.

pid_file() { printf '%s/%s.pid\n' "$STACK_RUN" "$1"; }
log_file() { printf '%s/%s.log\n' "$LOGS" "$1"; }

# fail_of NAME SENTENCE: with what the server said in its present life.
fail_of() { fail "$2" "$(log_file "$1")" "$(cat "$STACK_RUN/$1.log-begin" 2>/dev/null || printf 0)"; }

# identity PID: tells this process from every other that has or had its id; fails when it is gone.
identity() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }"
  if [ "${fields[0]}" = Z ]; then return 1; fi
  printf '%s %s\n' "$(</proc/sys/kernel/random/boot_id)" "${fields[19]}"
}

# server_pid NAME: its process id; fails when it does not run.
server_pid() {
  local pid known
  read -r pid known 2>/dev/null <"$(pid_file "$1")" || return 1
  if [ -z "$known" ] || [ "$(identity "$pid")" != "$known" ]; then return 1; fi
  printf '%s\n' "$pid"
}

runs() { server_pid "$1" >/dev/null 2>&1; }

# daemon NAME COMMAND...: starts it apart from this terminal, its output in its log. It notes its own id before it becomes
# the server, so that a run that is killed at any moment leaves no server that nobody remembers.
daemon() {
  local name=$1 log pid file
  shift
  log=$(log_file "$name")
  file=$(pid_file "$name")
  mkdir -p "$STACK_RUN" "$LOGS"
  rm -f "$file"
  if [ -s "$log" ] && [ "$(stat -c %s "$log")" -gt 20000000 ]; then mv -f "$log" "$log.old"; fi
  stat -c %s "$log" 2>/dev/null >"$STACK_RUN/$name.log-begin" || printf '0\n' >"$STACK_RUN/$name.log-begin"
  (
    # What this shell holds open (locks above all) must not live on in a server.
    for descriptor in /proc/self/fd/*; do
      descriptor=${descriptor##*/}
      if [ "$descriptor" -gt 2 ]; then eval "exec $descriptor>&-"; fi
    done
    cd "$STACK_HOME" || exit
    pid=$BASHPID
    printf '%s %s\n' "$pid" "$(identity "$pid")" >"$file.new" && mv "$file.new" "$file" || exit
    exec env VKUBE_STACK_DAEMON="$STACK_HOME" setsid "$@"
  ) >>"$log" 2>&1 </dev/null &
  pid=$!
  # Its end is looked for, not reported.
  disown "$pid"
  while [ ! -e "$file" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
}

# await NAME SECONDS WHAT COMMAND...: until the command succeeds; NAME is the server it depends on.
await() {
  local name=$1 seconds=$2 what=$3 deadline
  shift 3
  deadline=$(($(now_ms) + seconds * 1000))
  until "$@" >/dev/null 2>&1; do
    if ! runs "$name"; then fail_of "$name" "$name ended while it was waited for ($what)"; fi
    if [ "$(now_ms)" -gt "$deadline" ]; then fail_of "$name" "$name: $what did not happen within $seconds s"; fi
    sleep 0.1
  done
}

# gone_within SECONDS PID IDENTITY
gone_within() {
  local deadline=$(($(now_ms) + $1 * 1000))
  while [ "$(identity "$2")" = "$3" ]; do
    if [ "$(now_ms)" -gt "$deadline" ]; then return 1; fi
    sleep 0.05
  done
}

# end_process PID SIGNAL SECONDS: asks, waits, then insists.
end_process() {
  local known
  known=$(identity "$1") || return 0
  kill -s "$2" "$1" 2>/dev/null || return 0
  gone_within "$3" "$1" "$known" && return 0
  kill -s KILL "$1" 2>/dev/null || return 0
  gone_within 10 "$1" "$known" || fail "process $1 does not end, even when killed: see 'cat /proc/$1/stack'"
}

# strays: ids of processes that carry this stack's mark, remembered or not.
strays() {
  local file
  { grep -lzx -- "VKUBE_STACK_DAEMON=$STACK_HOME" /proc/[0-9]*/environ 2>/dev/null || true; } | while read -r file; do
    file=${file#/proc/}
    printf '%s\n' "${file%/environ}"
  done
}

# require_free_port NAME PORT: else says who holds it.
require_free_port() {
  local holder
  holder=$(ss -Hltnp "sport = :$2" | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/p' | head -1)
  if [ -n "$(ss -Hltn "sport = :$2")" ]; then
    fail "port $2, which $1 needs, is taken by ${holder:-a process of another namespace}: end that, or move ours where dev/stack/instance.sh has a setting for it"
  fi
}
