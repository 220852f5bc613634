#!/bin/sh
# identities.sh API FOLDER NATS_CONF: makes what the services of docker-compose.yml show each other, in a folder of FOLDER for each;
# keys that are there are kept. API is the program vkube-api.
set -eu
umask 077
api=$1
conf=$3
cd "$2"

# keep_random FILE
keep_random() {
  if [ ! -s "$1" ]; then
    openssl rand -hex 32 >"$1.new"
    mv "$1.new" "$1"
  fi
}

# keep_nkey NAME
keep_nkey() {
  if [ ! -s "nats/$1.pub" ]; then
    rm -f "$1/nats.nk"
    "$api" nkey "$1/nats.nk" >"nats/$1.pub.new"
    mv "nats/$1.pub.new" "nats/$1.pub"
  fi
}

# make_certificate: of the host nats, with an authority that signs nothing else: its key is not kept.
make_certificate() {
  curve='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
  # shellcheck disable=SC2086
  openssl req -x509 $curve -days 3650 -subj /CN=vkube-compose-nats -keyout ca.key -out ca.crt
  # shellcheck disable=SC2086
  openssl req -new $curve -subj /CN=nats -keyout nats/tls.key -out tls.csr
  printf 'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:nats,DNS:localhost,IP:127.0.0.1\n' >tls.ext
  openssl x509 -req -in tls.csr -extfile tls.ext -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out tls.crt
  mv ca.crt tls.crt nats/
  rm ca.* tls.*
}

keep_random api/secret-key
keep_random worker/seal-key
keep_nkey api
keep_nkey worker
if [ ! -s nats/tls.crt ]; then make_certificate; fi
"$api" nats-users --api "$(cat nats/api.pub)" --worker "ausrine=$(cat nats/worker.pub)" >nats/users.conf.new
mv nats/users.conf.new nats/users.conf
cp "$conf" nats/nats.conf
# The programs run as this user, and a new volume belongs to root.
for part in api worker; do
  cp nats/ca.crt "$part/"
  chown -R 65532:65532 "$part"
done
