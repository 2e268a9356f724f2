#!/usr/bin/env bash
# images.sh STATE: builds Antiphon's images into STATE/docker with a docker daemon of its own, on a base made from Debian's
# packages, because there is no image registry here. Exits 77 where no docker daemon can run.
set -euo pipefail
cd "$(dirname "$0")/../.."
state=$1
export DOCKER_HOST=unix://$state/build.sock
# Without a bridge or firewall rules of its own: builds use this machine's network, and nothing is left of it afterwards.
dockerd --data-root "$state/docker" --exec-root "$state/exec-build" -H "$DOCKER_HOST" -p "$state/build.pid" \
  --bridge none --iptables=false >"$state/build-dockerd.log" 2>&1 &
dockerd=$!
trap 'kill "$dockerd" && wait "$dockerd" || true' EXIT
for _ in $(seq 60); do
  docker info >/dev/null 2>&1 && break
  kill -0 "$dockerd" 2>/dev/null || break
  sleep 0.5
done
docker info >/dev/null 2>&1 || {
  tail -1 "$state/build-dockerd.log"
  exit 77
}
base=localhost/antiphon/base:bookworm
if ! docker image inspect $base >/dev/null 2>&1; then
  # shellcheck disable=SC2016  # apt's own variable
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -1)
  mmdebstrap --quiet --variant=minbase --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --include=usr-is-merged,python3,python3-pip,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$state/rootfs.tar" "$mirror"
  docker import --change 'CMD ["python3"]' "$state/rootfs.tar" $base
  rm "$state/rootfs.tar"
fi
printf '[global]\ncert = /run/ca.crt\n' >"$state/pip.conf"
# /usr/bin/docker is Debian's, which can build; another one may be first in PATH.
DOCKER=/usr/bin/docker BASE=$base PIP_CONF=$state/pip.conf PIP_CA=/etc/ssl/certs/ca-certificates.crt \
  NETWORK=host TAG=test deploy/images/build.sh
