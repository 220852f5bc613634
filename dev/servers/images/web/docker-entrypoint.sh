#!/bin/sh
# Serves a page on port 80 (or PORT) and says so; behaves towards its pod as the guide's nginx does.
say() { echo "/docker-entrypoint.sh: $*"; }

say "/docker-entrypoint.d/ is not empty, will attempt to perform configuration"
if [ ! -e "${ROOT:=/usr/share/nginx/html}/index.html" ]; then
  mkdir -p "$ROOT"
  echo "<!doctype html><title>Welcome to ${PAGE:-web}!</title><h1>Welcome to ${PAGE:-web}!</h1>" >"$ROOT/index.html"
fi
# The first process of a container ignores every signal that it does not ask for.
trap 'kill "$server"; say "Ended as asked"; exit 0' TERM INT QUIT
httpd -f -vv -p "${PORT:-80}" -h "$ROOT" &
server=$!
say "Configuration complete; ready for start up"
wait "$server"
