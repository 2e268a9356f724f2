#!/usr/bin/env bash
# binaries.sh FOLDER [ARCHIVE]: prints a folder with Kubernetes 1.20's binaries: unpacked from ARCHIVE, from the one beside a
# workplace's checkouts, or built in four minutes from Debian's own source package, once.
set -euo pipefail
cd "$(dirname "$0")"
folder=$1 archive=${2:-}
[ -n "$archive" ] || archive=$(find ../../../shared/k8s -name 'kubernetes-*-linux-amd64.tar.xz' 2>/dev/null | head -1)
mkdir -p "$folder"
if [ ! -x "$folder/bin/kubelet" ]; then
  if [ -n "$archive" ] && [ "$(uname -m)" = x86_64 ]; then
    tar xJf "$archive" -C "$folder"
  else
    ./build-kubernetes.sh "$folder" >"$folder/build.log" 2>&1 || { tail -5 "$folder/build.log" >&2 && exit 1; }
  fi
fi
realpath "$folder/bin"
