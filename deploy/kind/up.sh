#!/usr/bin/env bash
# up.sh [kind|minikube] [PRESET]: makes a local cluster, gives it the images, installs the chart and places a spoken call.
#   deploy/kind/up.sh                  kind, on stubs
#   deploy/kind/up.sh minikube cpu     minikube, on the CPU models
# Needs docker, helm, kubectl and kind or minikube. TAG names the images' tag; with BUILD= (empty) they are not built again.
set -euo pipefail
cd "$(dirname "$0")/../.."
tool=${1:-kind} preset=${2:-stub} tag=${TAG:-dev} namespace=voice
case $preset in
stub) images=({asr,tts,llm,turn}-stub orchestrator caller) ;;
cpu) images=({asr,tts,llm,turn}-cpu orchestrator caller) ;;
*) echo "up.sh: no preset $preset for a local cluster; there are stub and cpu" >&2 && exit 2 ;;
esac
for program in docker helm kubectl "$tool"; do
  command -v "$program" >/dev/null || { echo "up.sh: $program is not installed" >&2 && exit 2; }
done

[ -z "${BUILD-yes}" ] || TAG=$tag deploy/images/build.sh "${images[@]}"
case $tool in
kind)
  kind get clusters | grep -qx antiphon || kind create cluster --config deploy/kind/cluster.yaml --wait 120s
  kubectl config use-context kind-antiphon
  for image in "${images[@]}"; do kind load docker-image --name antiphon "antiphon/$image:$tag"; done
  ;;
minikube)
  minikube status -p antiphon >/dev/null 2>&1 || minikube start -p antiphon --wait all
  kubectl config use-context antiphon
  for image in "${images[@]}"; do minikube image load -p antiphon "antiphon/$image:$tag"; done
  ;;
*) echo "up.sh: no tool $tool; there are kind and minikube" >&2 && exit 2 ;;
esac

kubectl create namespace $namespace --dry-run=client -o yaml | kubectl apply -f -
kubectl get secret antiphon-tokens -n $namespace >/dev/null 2>&1 ||
  kubectl create secret generic antiphon-tokens -n $namespace \
    --from-literal="session=$(openssl rand -hex 32)" --from-literal="service=$(openssl rand -hex 32)"
helm upgrade --install antiphon deploy/helm/antiphon -n $namespace -f "deploy/helm/antiphon/presets/$preset.yaml" \
  --set "image.tag=$tag" --wait --timeout 10m
helm test antiphon -n $namespace --logs
