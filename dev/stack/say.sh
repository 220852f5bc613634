# shellcheck shell=bash
# What the commands of dev/ print: steps with durations, and the one sentence that a failure ends with.

if [ -z "${HOME:-}" ]; then
  HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
  export HOME
fi

# A failure inside a function called from a subshell must end the command all the same.
FAILED=70

say() { printf '%s\n' "$*" >&2; }

# usage: what the command's file says of itself at its top.
usage() { sed -n '2,/^[^#]/{/^# shellcheck/d; s/^# \{0,1\}//p}' "$0"; }

# note TEXT: what happened inside a step.
note() { printf '    %s\n' "$*" >&2; }

# fail SENTENCE [LOG [BYTES]]: the sentence, the last lines of the log that explains it (but none of its first
# BYTES), the end.
fail() {
  printf '\nFAILED: %s\n' "$1" >&2
  if [ -n "${2:-}" ] && [ -s "$2" ]; then
    printf -- '--- the last lines of %s\n' "$2" >&2
    tail -c +$((${3:-0} + 1)) "$2" | tail -n "${VKUBE_DEV_LOG_LINES:-20}" | cut -c1-400 | sed 's/^/    /' >&2
  fi
  exit "$FAILED"
}

now_ms() { date +%s%3N; }

# seconds_since MS: "12.3 s".
seconds_since() {
  local elapsed=$(($(now_ms) - $1))
  printf '%d.%d s' $((elapsed / 1000)) $((elapsed % 1000 / 100))
}

# step TEXT COMMAND...: runs the command and says what is done, and how long it took.
step() {
  local text=$1 begun
  shift
  begun=$(now_ms)
  say "==> $text"
  "$@"
  note "done in $(seconds_since "$begun")"
}

# in_background COMMAND...: starts it as a group of processes of its own, to be ended as one; sets BACKGROUND. Should it
# live on when this command is killed, it does not hold the locks of the stack and of installations.
in_background() {
  set -m
  {
    if [ -n "${STACK_LOCK:-}" ]; then exec {STACK_LOCK}>&-; fi
    if [ -n "${INSTALL_LOCK:-}" ]; then exec {INSTALL_LOCK}>&-; fi
    "$@"
  } </dev/null &
  BACKGROUND=$!
  set +m
}

# end_background: what a command that ends early leaves running. To be called by its EXIT trap.
end_background() {
  if [ -n "${BACKGROUND:-}" ] && kill -TERM -- "-$BACKGROUND" 2>/dev/null; then wait "$BACKGROUND" 2>/dev/null || true; fi
}

# patiently TEXT LOG COMMAND...: a long command, its output in LOG; says every half minute that it still runs.
patiently() {
  local text=$1 log=$2 begun status=0 beats=0
  shift 2
  begun=$(now_ms)
  mkdir -p "$(dirname "$log")"
  in_background "$@" >"$log" 2>&1
  while kill -0 "$BACKGROUND" 2>/dev/null; do
    sleep 0.1
    beats=$((beats + 1))
    if [ $((beats % 300)) = 0 ]; then note "still $text ($(seconds_since "$begun"))"; fi
  done
  wait "$BACKGROUND" || status=$?
  BACKGROUND=''
  if [ "$status" = 0 ]; then note "$text: $(seconds_since "$begun")"; fi
  return "$status"
}
