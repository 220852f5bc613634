# shellcheck shell=bash disable=SC2034 # read by the files that source this one
# One stack: its name, folder, addresses and ports. The dev stack lives on the machine itself; test stacks use
# the very same ports, each inside network, mount and process namespaces of its own.

STACK_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$STACK_DIR/../.." && pwd)

STACKS_HOME=/var/lib/vkube
STACK=${VKUBE_STACK:-dev}
# Outside the home folders: PostgreSQL runs as a user of its own, and socket paths must be short.
STACK_HOME=$STACKS_HOME/$STACK
STACK_RUN=$STACK_HOME/run
LOGS=$STACK_HOME/logs
PKI=$STACK_HOME/pki
ADMIN_KUBECONFIG=$STACK_HOME/kubeconfig/admin.yaml
AUDIT_LOG=$LOGS/audit.log

REGION=ausrine
NODE_NAME=ausrine-1
# An address of our own: the machine's may change, or there may be none besides loopback.
NODE_ADDRESS=10.201.0.1
NODE_INTERFACE=vkube-node
POD_BRIDGE=vkube-pods
POD_RANGE=10.244.0.0/16
SERVICE_RANGE=10.96.0.0/16
POD_NETWORK=vkube-$STACK
CGROUP=vkube-$STACK

API_PORT=${VKUBE_DEV_API_PORT:-8080}
DEMO_PORT=${VKUBE_DEV_DEMO_PORT:-2999}
WORKER_HEALTH_PORT=${VKUBE_DEV_WORKER_HEALTH_PORT:-8081}
REGISTRY_PORT=${VKUBE_DEV_REGISTRY_PORT:-5000}
PRIVATE_REGISTRY_PORT=${VKUBE_DEV_PRIVATE_REGISTRY_PORT:-5001}
NATS_PORT=${VKUBE_DEV_NATS_PORT:-4222}
NATS_MONITOR_PORT=${VKUBE_DEV_NATS_MONITOR_PORT:-8222}
# Not 5432: Debian's package starts a PostgreSQL of its own there.
POSTGRES_PORT=${VKUBE_DEV_POSTGRES_PORT:-5433}
ETCD_PORT=${VKUBE_DEV_ETCD_PORT:-12379}
ETCD_PEER_PORT=${VKUBE_DEV_ETCD_PEER_PORT:-12380}
APISERVER_PORT=${VKUBE_DEV_APISERVER_PORT:-6443}
CONTROLLER_MANAGER_PORT=10257
SCHEDULER_PORT=10259
KUBELET_PORT=10250
KUBELET_HEALTH_PORT=10248

REGISTRY=127.0.0.1:$REGISTRY_PORT
PRIVATE_REGISTRY=127.0.0.1:$PRIVATE_REGISTRY_PORT
PRIVATE_REGISTRY_USERNAME=vkube
PRIVATE_REGISTRY_PASSWORD=vkube-dev
NATS_ADDRESS=tls://127.0.0.1:$NATS_PORT
POSTGRES_ADDRESS=postgres://postgres@127.0.0.1:$POSTGRES_PORT

# In the order in which they are started; each is defined in the file of its name or of its group.
INFRASTRUCTURE=(postgres registry private-registry)
CLUSTER=(etcd containerd apiserver controller-manager scheduler kubelet volumes)
# NATS among it: it goes by what the product says that each part may do.
PRODUCT=(nats api worker)
