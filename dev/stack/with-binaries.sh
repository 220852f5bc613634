#!/usr/bin/env bash
# with-binaries.sh FOLDER COMMAND...: a command of that folder, for which the product is that folder's too.
set -euo pipefail
FOLDER=$1
shift
export VKUBE_E2E_API_BINARY=$FOLDER/vkube-api VKUBE_E2E_WORKER_BINARY=$FOLDER/vkube-worker VKUBE_E2E_CLI_BINARY=$FOLDER/vkube
exec "$FOLDER/$1" "${@:2}"
