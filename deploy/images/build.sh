#!/usr/bin/env bash
# build.sh [NAME-VARIANT …]: builds Antiphon's images and prints their sizes. Without names, all but those for GPUs.
#   NAME-VARIANT   asr-stub asr-cpu asr-gpu, the same of tts, llm and turn; orchestrator; caller
# Settings: REGISTRY (antiphon), TAG (dev), BASE (the Dockerfiles' own), DOCKER (docker), NETWORK (of the build; Docker's own),
# PIP_CONF and PIP_CA (files for pip, where the package index is not the public one).
set -euo pipefail
cd "$(dirname "$0")/../.."
registry=${REGISTRY:-antiphon} tag=${TAG:-dev} docker=${DOCKER:-docker}
names=("$@")
[ ${#names[@]} -gt 0 ] || names=({asr,tts,llm,turn}-{stub,cpu} orchestrator caller)
common=(--build-arg "REVISION=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)")
[ -z "${NETWORK:-}" ] || common+=(--network "$NETWORK")
[ -z "${BASE:-}" ] || common+=(--build-arg "BASE=$BASE")
[ -z "${PIP_CONF:-}" ] || common+=(--secret "id=pip,src=$PIP_CONF")
[ -z "${PIP_CA:-}" ] || common+=(--secret "id=ca,src=$PIP_CA")

for name in "${names[@]}"; do
  case $name in
  orchestrator) file=orchestrator/Dockerfile image=orchestrator args=() ;;
  caller) file=cli/Dockerfile image=caller args=() ;;
  tts-stub) file=services/tts/Dockerfile image=$name args=(--build-arg LOCK=tts-stub) ;;
  asr-stub | llm-stub | turn-stub) file=services/${name%-stub}/Dockerfile image=$name args=(--build-arg LOCK=stub) ;;
  asr-[cg]pu | tts-[cg]pu | llm-[cg]pu | turn-[cg]pu)
    file=services/${name%-*}/Dockerfile image=$name args=(--build-arg "LOCK=$name")
    ;;
  *)
    echo "build.sh: no image $name; there are asr, tts, llm and turn, each with -stub, -cpu or -gpu, orchestrator and caller" >&2
    exit 2
    ;;
  esac
  echo "building $registry/$image:$tag"
  DOCKER_BUILDKIT=1 "$docker" build --quiet "${common[@]}" "${args[@]}" -f "$file" -t "$registry/$image:$tag" . >/dev/null
done
"$docker" image ls --filter "reference=$registry/*:$tag" --format '{{.Repository}}:{{.Tag}}  {{.Size}}'
