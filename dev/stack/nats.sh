# shellcheck shell=bash
# The NATS server on loopback: as deploy/nats has it, with an identity for each part and one for a person's shell. It goes by
# what the product says that each may do, so the product must be built.

NATS_HOME=$STACK_HOME/nats
# Who a person is to NATS; the inboxes of his shell begin with _INBOX_ and this.
NATS_OPERATOR=dev

nats_key() { printf '%s/%s.nk\n' "$NATS_HOME" "$1"; }

nats_ca() { printf '%s/ca.crt\n' "$NATS_HOME"; }

nats_ports() { printf '%s\n' "$NATS_PORT" "$NATS_MONITOR_PORT"; }

# make_nats_keys: those that are not there yet.
make_nats_keys() {
  local name
  for name in api worker "$NATS_OPERATOR"; do
    if [ -s "$NATS_HOME/$name.pub" ]; then continue; fi
    rm -f "$(nats_key "$name")"
    "$(binaries_dir)/vkube-api" nkey "$(nats_key "$name")" >"$NATS_HOME/$name.pub.new" || return
    mv "$NATS_HOME/$name.pub.new" "$NATS_HOME/$name.pub"
  done
}

make_nats_certificate() {
  if [ -s "$NATS_HOME/tls.crt" ]; then return; fi
  (
    umask 077
    cd "$NATS_HOME" || exit
    make_authority "vkube-$STACK-nats" && issue_certificate tls /CN=nats IP:127.0.0.1,DNS:localhost
  )
}

# nats_users: the part of the configuration that says who may do what.
nats_users() {
  "$(binaries_dir)/vkube-api" nats-users --api "$(<"$NATS_HOME/api.pub")" --worker "$REGION=$(<"$NATS_HOME/worker.pub")" \
    --operator "$NATS_OPERATOR=$(<"$NATS_HOME/$NATS_OPERATOR.pub")"
}

nats_prepare() {
  local log
  log=$(log_file nats-identities)
  mkdir -p "$NATS_HOME"
  { make_nats_keys && make_nats_certificate && nats_users >"$NATS_HOME/users.conf"; } >"$log" 2>&1 ||
    fail "the identities of NATS could not be made" "$log"
  cp "$ROOT/deploy/nats/nats.conf" "$NATS_HOME/shipped.conf"
  # What comes last holds.
  cat >"$NATS_HOME/nats.conf" <<CONF
include "shipped.conf"
listen: "127.0.0.1:$NATS_PORT"
http: "127.0.0.1:$NATS_MONITOR_PORT"
server_name: "vkube-$STACK"
jetstream { store_dir: "$NATS_HOME", sync_interval: always }
tls { cert_file: "$NATS_HOME/tls.crt", key_file: "$NATS_HOME/tls.key" }
CONF
}

nats_spawn() { daemon nats "$(server_dir nats)/nats-server" -c "$NATS_HOME/nats.conf"; }

nats_ready() { curl -sf -m 2 "http://127.0.0.1:$NATS_MONITOR_PORT/healthz"; }
