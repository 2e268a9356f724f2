#!/usr/bin/env bash
# down.sh STATE: ends what up.sh started there, by process id, and unmounts what it left. Its network goes with its namespace.
set -uo pipefail
cd "$1" || exit 0
state=$PWD
export DOCKER_HOST=unix://$state/docker.sock
end() { # NAME…: the processes of these names, and waits for them
  for name in "$@"; do
    [ -f "pid/$name" ] || continue
    pid=$(cat "pid/$name")
    kill "$pid" 2>/dev/null
    for _ in $(seq 40); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.25
    done
    kill -9 "$pid" 2>/dev/null
  done
}
end names kubelet proxy scheduler manager apiserver etcd
docker ps -aq 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1
end dockerd
awk -v under="$state/" 'index($2, under) == 1 {print $2}' /proc/mounts | sort -r | xargs -r -n1 umount 2>/dev/null
true
