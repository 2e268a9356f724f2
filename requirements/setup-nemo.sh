#!/usr/bin/env bash
# setup-nemo.sh PYTHON VENV [torch]: makes VENV, in which the tests of the backends on NeMo run. 2 GB, and some minutes.
# With `torch` only that is installed: where it cannot be had, the rest is of no use.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$2/bin/python pins=requirements/nemo.txt log=out/setup-nemo.log
mkdir -p out
echo "Installing NeMo into $2, 2 GB or more; see $log"
exec >"$log" 2>&1
# Bytecode of all that lies in there takes longer than the rest; the import below makes what is used.
export PYTHONDONTWRITEBYTECODE= PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off
install() { "$python" -m pip install --no-compile "$@"; }

test -x "$python" || "$1" -m venv "$2"
# Not in nemo.txt: its hashes would forbid a CPU-only wheel, which pip prefers where it finds one. PIP_FIND_LINKS helps.
install --no-deps torch==2.13.0
[ "${3:-}" != torch ] || exit 0
# First what builds the distributions that have no wheel, or pip would fetch it unpinned.
install --no-deps --require-hashes -r <(sed -n '/^setuptools==/,/# via/p' $pins)
install --no-deps --require-hashes --no-build-isolation -r $pins
# What torch needs besides is there by now, but for CUDA.
install torch==2.13.0
install --no-deps --no-build-isolation -e ./proto -e ./services/runtime -e ./services/asr -e ./services/tts
# Bench wants Pipecat, which its instruments for recognizers do without: the check is made before it is there.
"$python" -m pip uninstall -y antiphon-bench
"$python" -m pip check
install --no-deps --no-build-isolation -e ./bench
"$python" -c "import nemo.collections.asr.models, nemo.collections.tts.models.magpietts" || true
