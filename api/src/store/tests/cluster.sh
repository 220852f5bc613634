#!/bin/sh
# cluster.sh BINARIES FOLDER PORT: a throw-away PostgreSQL with TLS in an empty folder, on loopback.
# Each line of input that says `restart` kills the server and starts it again. When the input ends, which it does with the
# process that holds its other end, so does the server, and the folder with it.
set -eu
binaries=$1 folder=$2 port=$3
trap '' INT TERM HUP

# Replaces the shell by a program that ends with it. The programs of PostgreSQL refuse to be run by root.
become() {
  if [ "$(id -u)" = 0 ]; then
    exec setpriv --pdeathsig QUIT --reuid=postgres --regid="$(id -g postgres)" --clear-groups "$@"
  fi
  exec setpriv --pdeathsig QUIT "$@"
}

# certificate NAME EXTENSIONS [OPTION...]: NAME.pem and NAME.key.
certificate() {
  name=$1 extensions=$2
  shift 2
  (become openssl req -x509 -config tls.conf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2 \
    -subj "/CN=$name" -extensions "$extensions" -keyout "$name.key" -out "$name.pem" "$@")
}

start() {
  become "$binaries/postgres" -D "$folder/data" -p "$port" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 -c autovacuum=off \
    -c fsync=off -c full_page_writes=off -c log_line_prefix='%d ' \
    -c ssl=on -c ssl_cert_file="$folder/server.pem" -c ssl_key_file="$folder/server.key" &
  server=$!
}

end() {
  kill -QUIT "$server" || true
  wait "$server" || true
}

cd "$folder"
if [ "$(id -u)" = 0 ]; then chown postgres .; fi
cat >tls.conf <<'CONF'
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
[server]
basicConstraints = CA:FALSE
subjectAltName = IP:127.0.0.1
CONF
certificate ca ca
certificate other-ca ca
certificate server server -CA ca.pem -CAkey ca.key
(become "$binaries/initdb" -D data -U postgres -A trust -E UTF8 --no-locale --no-sync)
start
while read -r command; do
  if [ "$command" = restart ]; then
    end
    start
  fi
done
end
cd /
rm -rf "$folder"
