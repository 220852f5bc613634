# shellcheck shell=bash
# Two image registries on loopback: one without login that stands in for Docker Hub, and a private one.

registry_ports() { printf '%s\n' "$REGISTRY_PORT"; }
registry_prepare() { mkdir -p "$STACK_HOME/registry"; }
registry_spawn() {
  daemon registry "$(server_dir registry)/crane" registry serve --address "$REGISTRY" --disk "$STACK_HOME/registry"
}
registry_ready() { curl -sf -m 2 "http://$REGISTRY/v2/"; }
# It keeps manifests in memory only.
registry_started() { push_public_images; }

private_registry_ports() { printf '%s\n' "$PRIVATE_REGISTRY_PORT"; }
private_registry_prepare() {
  local home=$STACK_HOME/private-registry
  mkdir -p "$home"
  # The password of instance.sh, hashed by 'htpasswd -nbB'.
  # shellcheck disable=SC2016 # the dollars are the hash's own
  printf '%s:%s\n' "$PRIVATE_REGISTRY_USERNAME" '$2y$05$QtQ0NKK7/yHKwNn6N3acBODV5jzikgziN5W5PRYZpd4jRy1pJthYS' >"$home/htpasswd"
  cat >"$home/config.yml" <<CONF
version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: $home/data}}
http: {addr: "$PRIVATE_REGISTRY"}
auth: {htpasswd: {realm: vkube, path: $home/htpasswd}}
CONF
}
private_registry_spawn() {
  daemon private-registry "$DOCKER_REGISTRY" serve "$STACK_HOME/private-registry/config.yml"
}
private_registry_ready() {
  curl -sf -m 2 -u "$PRIVATE_REGISTRY_USERNAME:$PRIVATE_REGISTRY_PASSWORD" "http://$PRIVATE_REGISTRY/v2/"
}
private_registry_started() { push_private_images; }
