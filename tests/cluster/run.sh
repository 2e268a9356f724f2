#!/usr/bin/env bash
# run.sh [PYTEST ARGUMENTS]: builds the images, brings a real Kubernetes up, runs the tests of tests/cluster in it, and takes
# all of it down. With KUBECONFIG set it uses that cluster, and the images that REGISTRY and TAG name there.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.venv-deploy/bin/python
state=${STATE:-out/cluster} binaries=${K8S_BINARIES:-}
pytest=("$PWD/$python" -m pytest -p no:cacheprovider -c tests/cluster/pytest.ini tests/cluster "$@")
if [ -n "${KUBECONFIG:-}" ]; then
  exec "${pytest[@]}"
fi

skip() { echo "tests/cluster SKIPPED: $1" >&2 && exit 0; }
[ "$(id -u)" = 0 ] || skip "a cluster of its own needs root; or set KUBECONFIG to use yours"
packages=(docker.io etcd-server iptables iproute2 mmdebstrap openssl coturn)
missing=
for program in dockerd etcd iptables ip mmdebstrap openssl; do
  command -v "$program" >/dev/null || missing+=" $program"
done
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null || skip "it needs$missing"
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}") >/dev/null 2>&1 ||
    skip "${packages[*]} cannot be installed here"
fi
unshare --net true 2>/dev/null || skip "network namespaces cannot be made here"

mkdir -p "$state"
state=$(realpath "$state")
namespace=antiphon-cluster-$$
log() { echo "$(date +%T) $*"; }
down() {
  set +e
  [ -z "${building:-}" ] || kill "$building" 2>/dev/null
  if [ -e "/run/netns/$namespace" ]; then
    nsenter "--net=/run/netns/$namespace" tests/cluster/down.sh "$state"
    ip netns del "$namespace"
  fi
  [ -n "${KEEP:-}" ] || rm -rf "$state/docker" "$state/exec" "$state/kubelet" "$state/etcd"
}
trap down EXIT

log "Kubernetes' binaries"
binaries=$(tests/cluster/binaries.sh "$state/kubernetes" "$binaries")
log "images"
tests/cluster/images.sh "$state" >"$state/images.log" 2>&1 &
building=$!
wait "$building" && built=0 || built=$?
building=
[ "$built" != 77 ] || skip "a docker daemon cannot run here: $(tail -1 "$state/images.log")"
[ "$built" = 0 ] || { tail -20 "$state/images.log" >&2 && exit 1; }
tail -12 "$state/images.log"
log "weights"
# As the model cache of a cluster that has no way to a package index.
rm -rf "$state/models" && cp -rL "${ANTIPHON_MODELS_DIR:-$HOME/.cache/antiphon/models}" "$state/models"
chown -R 10001:10001 "$state/models"
log "cluster"
ip netns add "$namespace"
PY=$PWD/$python PATH=$PWD/.venv-deploy/bin:$PATH nsenter "--net=/run/netns/$namespace" tests/cluster/up.sh "$binaries" "$state"
log "tests"
KUBECONFIG=$state/admin.conf DOCKER_HOST=unix://$state/docker.sock ANTIPHON_OWN_CLUSTER=$state PATH=$PWD/.venv-deploy/bin:$PATH \
  nsenter "--net=/run/netns/$namespace" "${pytest[@]}"
log "done"
