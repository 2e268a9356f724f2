#!/usr/bin/env bash
# up.sh BIN STATE: a one-node Kubernetes 1.20 with the binaries in BIN. Needs root, dockerd, etcd, iptables, openssl, and a
# Python with dnslib and kubernetes as $PY. The kubeconfig is STATE/admin.conf; down.sh STATE ends it.
# To be run in a network namespace that has no way out: no address of the cluster's can then leave the machine.
set -euo pipefail
bin=$(realpath "$1") here=$(dirname "$(realpath "$0")") PY=${PY:-python3}
mkdir -p "$2"/{pki,log,pid}
state=$(realpath "$2")
cd "$state"
services=10.96.0.0/16 dns=10.96.0.10 node=10.97.0.1 pods=10.97.0.1/16
export DOCKER_HOST=unix://$state/docker.sock KUBECONFIG=$state/admin.conf

start() { # NAME COMMAND…: in the background, its process by id in pid/NAME
  local name=$1
  shift
  setsid nohup "$@" >"log/$name.log" 2>&1 &
  echo $! >"pid/$name"
}
until_ok() { # SECONDS COMMAND…
  local left=$(($1 * 4))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $((left--)) -gt 0 ] || { echo "up.sh: gave up waiting for: $*; see $state/log" >&2 && exit 1; }
    sleep 0.25
  done
}

if ip -o link show | awk -F': ' '{print $2}' | grep -qvE '^(lo|docker0|nowhere|veth.*)(@.*)?$'; then
  echo "up.sh: this network namespace has an interface to the outside; run it as tests/cluster/run.sh does" >&2
  exit 2
fi
ip link set lo up
# Whatever no component has claimed goes into a bridge without ports.
ip link add nowhere type bridge 2>/dev/null || true
ip addr replace 10.98.0.1/32 dev nowhere
ip link set nowhere up
ip route replace $services dev nowhere
ip route replace default dev nowhere

certificate() { # NAME SUBJECT EXTENSIONS
  openssl req -newkey rsa:2048 -nodes -keyout "pki/$1.key" -out "pki/$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -out "pki/$1.crt" -days 2 \
    -extfile <(printf '%b' "$3") 2>/dev/null
}
openssl req -x509 -newkey rsa:2048 -nodes -keyout pki/ca.key -out pki/ca.crt -subj /CN=test-ca -days 2 2>/dev/null
openssl genrsa -out pki/sa.key 2048 2>/dev/null
certificate apiserver /CN=kube-apiserver "subjectAltName=DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$node"
certificate admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
certificate manager /CN=system:kube-controller-manager extendedKeyUsage=clientAuth
certificate scheduler /CN=system:kube-scheduler extendedKeyUsage=clientAuth
certificate proxy /CN=system:kube-proxy extendedKeyUsage=clientAuth
certificate node /O=system:nodes/CN=system:node:node1 "extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=DNS:node1,IP:$node,IP:127.0.0.1"
for user in admin manager scheduler proxy node; do
  cat >$user.conf <<K
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $state/pki/ca.crt}}]
users: [{name: $user, user: {client-certificate: $state/pki/$user.crt, client-key: $state/pki/$user.key}}]
contexts: [{name: test, context: {cluster: test, user: $user}}]
current-context: test
K
done

# Without CAP_SYS_RESOURCE, as here, runc cannot lower an OOM score: the shim does without.
start dockerd dockerd --data-root "$state/docker" --exec-root "$state/exec" -H "$DOCKER_HOST" -p "$state/pid/dockerd.own" \
  --bip $pods --add-runtime "k8s=$here/runc-oom" --default-runtime k8s
until_ok 30 docker info
mkdir -p pause && cp "$bin/pause" pause/
printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' >pause/Dockerfile
DOCKER_BUILDKIT=1 /usr/bin/docker build -q -t localhost/pause:1 pause >/dev/null

start etcd etcd --data-dir "$state/etcd" --unsafe-no-fsync --listen-client-urls http://127.0.0.1:2379 \
  --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
start apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address=$node \
  --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --service-cluster-ip-range=$services \
  --service-account-issuer=https://kubernetes.default.svc --service-account-signing-key-file=pki/sa.key \
  --service-account-key-file=pki/sa.key --api-audiences=api --kubelet-preferred-address-types=InternalIP \
  --kubelet-client-certificate=pki/admin.crt --kubelet-client-key=pki/admin.key \
  --proxy-client-cert-file=pki/admin.crt --proxy-client-key-file=pki/admin.key --requestheader-client-ca-file=pki/ca.crt \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra-
until_ok 60 kubectl get --raw /readyz
start manager "$bin/kube-controller-manager" --kubeconfig=manager.conf --service-account-private-key-file=pki/sa.key \
  --root-ca-file=pki/ca.crt --use-service-account-credentials=true --leader-elect=false \
  --horizontal-pod-autoscaler-sync-period=5s --horizontal-pod-autoscaler-downscale-stabilization=10s
start scheduler "$bin/kube-scheduler" --kubeconfig=scheduler.conf --leader-elect=false
cat >kubelet.yaml <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
clusterDNS: [$dns]
clusterDomain: cluster.local
failSwapOn: false
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $state/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $state/pki/node.crt
tlsPrivateKeyFile: $state/pki/node.key
evictionHard: {memory.available: 200Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
maxPods: 60
K
start kubelet "$bin/kubelet" --kubeconfig=node.conf --config=kubelet.yaml --hostname-override=node1 --node-ip=$node \
  --container-runtime=docker "--docker-endpoint=$DOCKER_HOST" --pod-infra-container-image=localhost/pause:1 \
  "--root-dir=$state/kubelet"
start proxy "$bin/kube-proxy" --kubeconfig=proxy.conf --hostname-override=node1 --proxy-mode=iptables \
  --bind-address=$node --cluster-cidr=10.97.0.0/16 --conntrack-max-per-core=0 --metrics-bind-address=127.0.0.1:10249 \
  --healthz-bind-address=127.0.0.1:10256
ip addr replace $dns/32 dev nowhere
start names "$PY" "$here/names.py" "$KUBECONFIG" $dns
ready() { kubectl get node node1 --no-headers | grep -q ' Ready'; }
until_ok 90 ready
kubectl get nodes
