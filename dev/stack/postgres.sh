# shellcheck shell=bash
# PostgreSQL, Debian's, on loopback, with a cluster of the stack's own.

# Where this file is, nobody waits for the disk: a test stack.
FORGETFUL=$STACK_HOME/forgetful

# The newest with a server; the folder of another version may hold the client alone.
postgres_bin() { dirname "$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -1)"; }

as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }

postgres_ports() { printf '%s\n' "$POSTGRES_PORT"; }

postgres_prepare() {
  local data=$STACK_HOME/postgres/data owner
  install -d -o postgres -g postgres -m 700 "$STACK_HOME/postgres"
  # Left by a killed server: its process id may by now be anybody's, and PostgreSQL would refuse to start.
  if [ -s "$data/postmaster.pid" ]; then
    owner=$(head -1 "$data/postmaster.pid")
    if [ "$(readlink "/proc/$owner/cwd" 2>/dev/null)" = "$data" ]; then end_process "$owner" INT 10; fi
    rm -f "$data/postmaster.pid"
  fi
  if [ -f "$data/PG_VERSION" ]; then return; fi
  rm -rf "$data" "$data.new"
  as_postgres "$(postgres_bin)/initdb" -D "$data.new" -U postgres -A trust -E UTF8 --no-locale --no-sync \
    >"$(log_file initdb)" 2>&1 || fail "PostgreSQL's initdb failed" "$(log_file initdb)"
  mv "$data.new" "$data"
}

postgres_spawn() {
  local durability=()
  # Killing the server loses nothing all the same, only a power cut does.
  if [ -e "$FORGETFUL" ]; then durability=(-c fsync=off -c full_page_writes=off); fi
  daemon postgres setpriv --reuid=postgres --regid=postgres --init-groups \
    "$(postgres_bin)/postgres" -D "$STACK_HOME/postgres/data" -p "$POSTGRES_PORT" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories="$STACK_HOME/postgres" \
    -c shared_preload_libraries=pg_stat_statements -c max_connections=400 -c log_min_messages=warning "${durability[@]}"
}

postgres_ready() { "$(postgres_bin)/pg_isready" -q -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres -d postgres; }

postgres_stop_signal() { printf 'INT\n'; } # clients are disconnected, nothing is lost
