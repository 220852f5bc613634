# shellcheck shell=bash
# The NATS server, with JetStream that syncs every write, on loopback.

nats_ports() { printf '%s\n' "$NATS_PORT" "$NATS_MONITOR_PORT"; }

nats_prepare() {
  mkdir -p "$STACK_HOME/nats"
  cat >"$STACK_HOME/nats/nats.conf" <<CONF
listen: "127.0.0.1:$NATS_PORT"
http: "127.0.0.1:$NATS_MONITOR_PORT"
server_name: "vkube-$STACK"
jetstream {
  store_dir: "$STACK_HOME/nats"
  sync_interval: always
}
CONF
}

nats_spawn() { daemon nats "$(server_dir nats)/nats-server" -c "$STACK_HOME/nats/nats.conf"; }

nats_ready() { curl -sf -m 2 "http://127.0.0.1:$NATS_MONITOR_PORT/healthz"; }
