# `make demo` and `make test` need Python 3.11, make and a package index; nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# NeMo is 2 GB: only the tests of its backend have it, in an environment of their own.
NEMO := .venv-nemo
NEMO_STAMP := $(NEMO)/.installed
PACKAGES := proto services/runtime services/asr services/tts services/llm services/turn orchestrator bench cli
VLLM := .venv-vllm
# Helm, kubectl and validators: only the tests of what is deployed have them.
DEPLOY := .venv-deploy
DEPLOY_STAMP := $(DEPLOY)/.installed
DEPLOY_PACKAGES := proto services/runtime services/asr services/tts services/llm services/turn
NEMO_PACKAGES := proto services/runtime services/asr services/tts bench
PROTOS := $(shell find proto/antiphon -name '*.proto')
SOURCES := $(PACKAGES) deploy tests
# Half of the tests wait in real time; a file's tests stay together, because they share what is slow to start.
# Without a default log, Pipecat's greeting does not follow the summary.
PYTEST := LOGURU_AUTOINIT=False $(BIN)/python -m pytest -n 2 --dist loadfile
ALONE := LOGURU_AUTOINIT=False $(BIN)/python -m pytest -p no:xdist -m alone tests
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help setup setup-nemo setup-deploy demo up test test-nemo test-vllm check bench-v2v bench-overhead bench-asr bench-tts bench-llm bench-turns bench-turn-service bench-conversation bench-trouble bench-telemetry bench-rates bench-recording soak stress-alone eval-conversation bench-wer telemetry dashboards chart images test-deploy test-cluster board-image format constraints clean
help: ## Show this.
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(STAMP): requirements/laptop.txt $(PACKAGES:%=%/pyproject.toml) proto/build.py $(PROTOS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Python 3.11 or newer is needed; set PYTHON=…"; exit 1)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# As constraints too: without them pip looks at newer releases of what is also wanted with an extra, and refuses.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/laptop.txt -c requirements/laptop.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PACKAGES:%=-e ./%)
	@touch $@

setup: $(STAMP) ## Make the virtual environment.

$(NEMO_STAMP): requirements/setup-nemo.sh requirements/nemo.txt $(NEMO_PACKAGES:%=%/pyproject.toml) proto/build.py $(PROTOS)
	@requirements/setup-nemo.sh $(PYTHON) $(NEMO)
	@touch $@

setup-nemo: $(NEMO_STAMP) ## Make the virtual environment of the backends on NeMo: 2 GB or more.

$(DEPLOY_STAMP): requirements/deploy.txt $(DEPLOY_PACKAGES:%=%/pyproject.toml) proto/build.py $(PROTOS)
	test -x $(DEPLOY)/bin/python || $(PYTHON) -m venv $(DEPLOY)
	$(DEPLOY)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/deploy.txt
	$(DEPLOY)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(DEPLOY_PACKAGES:%=-e ./%)
	@# What writes the chart's table of parameters; its test is skipped where there is no npm.
	! command -v npm >/dev/null || npm install --silent --no-save --no-package-lock --prefix $(DEPLOY)/npm @bitnami/readme-generator-for-helm@2.7.2
	@touch $@

setup-deploy: $(DEPLOY_STAMP) ## Make the virtual environment of the tests of images, chart and cluster.

demo: setup ## Start everything, ask three spoken questions, print the answers and their timelines.
	$(BIN)/antiphon demo

up: setup ## Serve until Ctrl-C; prints the page's address.
	$(BIN)/antiphon up

test: setup ## Every test a laptop can run.
	@if test -e $(NEMO_STAMP) || requirements/setup-nemo.sh $(PYTHON) $(NEMO) torch; then \
	  $(MAKE) --no-print-directory test-nemo; else \
	  echo "torch cannot be installed here (see out/setup-nemo.log): the tests of the backends on NeMo are skipped"; fi
	$(BIN)/antiphon models fetch
	@# What compares latencies has the machine to itself.
	$(ALONE)
	$(PYTEST) -m "not alone"

test-nemo: setup-nemo ## The tests of the ASR and TTS services with NeMo, on tiny checkpoints with random weights.
	$(subst $(VENV)/,$(NEMO)/,$(PYTEST)) services/asr/tests services/tts/tests

test-vllm: setup ## The LLM service's conformance suite on vLLM's CPU build, in an environment of its own: 6 GB. Not part of make test.
	$(BIN)/antiphon models fetch
	test -e $(VLLM)/smollm2/config.json || requirements/setup-vllm.sh $(PYTHON) $(VLLM)
	ANTIPHON_LLM_VLLM__MODEL=$(VLLM)/smollm2 ANTIPHON_LLM_VLLM__ARGS="--max-model-len 2048 --enforce-eager" \
	  VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 VLLM_LOGGING_LEVEL=WARNING \
	  $(VLLM)/bin/python -m pytest services/llm/tests/test_conformance.py services/llm/tests/test_recipe.py -k vllm

check: setup ## Format, lint, types, proto lint, unit tests.
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/mypy $(wildcard services/*/src orchestrator/src bench/src cli/src)
	$(PYTEST) -m "not real and not slow" services orchestrator bench cli

bench-v2v: setup ## Voice-to-voice time on the real CPU models, over several calls.
	$(BIN)/antiphon bench --models cpu

bench-overhead: setup ## The same on stubs without latency: the platform's own share.
	$(BIN)/antiphon bench --models stub

bench-asr: setup-nemo ## Callers that the batched recognizer serves, beside the seed's way; ARGS="--size full" on a GPU.
	$(NEMO)/bin/python -m antiphon_bench.asr.bench --publish docs/latency $(ARGS)

bench-tts: setup-nemo ## Time to first audio of Magpie, batch and hybrid, beside the seed's way; ARGS="--size full" on a GPU.
	$(NEMO)/bin/python -m antiphon_bench.tts.bench --publish docs/latency $(ARGS)

bench-llm: setup ## Time to the first token and between tokens; the model beside a voice on one core (Magpie's after setup-nemo).
	$(BIN)/python -m antiphon_bench.llm.bench --publish docs/latency $(ARGS)

bench-turns: setup ## False cut-offs and dead air of each turn policy, on a self-made set of hesitant utterances.
	$(BIN)/antiphon models fetch
	$(BIN)/python -m antiphon_bench.turns.bench --publish docs/latency $(ARGS)

bench-turn-service: setup ## How soon turn verdicts come and what they cost, one by one and batched; ARGS="--speakers 1 16".
	$(BIN)/python -m antiphon_bench.turns.service --publish docs/latency $(ARGS)

bench-conversation: setup ## Voice-to-voice time on stubs with the seed's latencies beside a plain Pipecat bot, and calls on one core; 50 minutes.
	$(BIN)/python -m antiphon_cli.conversation.bench --publish docs/latency $(ARGS)

bench-trouble: setup ## Calls with misbehaving lines, models and services: over 120 cases, on stubs and real models; ARGS="--only mute".
	$(BIN)/antiphon models fetch
	$(BIN)/python -m antiphon_cli.trouble $(ARGS)

bench-telemetry: setup ## What metrics, traces and logs cost the orchestrator in CPU, in turns with none of them.
	$(BIN)/python -m antiphon_cli.telemetry_bench --publish docs/latency $(ARGS)

bench-rates: setup ## Voice-to-voice time of callers at 8, 16, 44.1 and 48 kHz on stubs; fails where 8 or 48 are 20 ms off 16. 5 minutes.
	$(BIN)/python -m antiphon_cli.rates $(ARGS)

bench-recording: setup ## An hour of recorded call in simulated time: the loop's stall, memory; and recordings of killed processes.
	$(BIN)/python -m antiphon_cli.recording_bench $(ARGS)

soak: setup ## The tests that take random points in time or many combinations, at their full counts.
	ANTIPHON_SOAK=1 $(PYTEST) tests/test_kills.py tests/test_many_barge_ins.py tests/test_contained.py \
	  tests/test_recordings.py tests/test_trouble.py bench/tests/test_dead_air.py cli/tests/test_recording_bench.py

eval-conversation: setup ## Thirty scripted turns with tools and a knowledge base, scored by rules; ARGS="--backend X --repeat N".
	$(BIN)/python -m antiphon_bench.dialogue.bench $(ARGS)

stress-alone: setup ## The tests that compare latencies, 20 times; ARGS="--runs 5 --stress 2" beside as many busy processes.
	$(BIN)/antiphon models fetch
	$(BIN)/python tests/stress_alone.py $(ARGS)

bench-wer: setup ## Word error rate and time to final of speech recognition; ARGS="--backend X --pace fast".
	$(BIN)/antiphon wer $(ARGS)

telemetry: setup ## Write docs/telemetry.md from the code.
	$(BIN)/python -m antiphon_cli.telemetry

dashboards: setup ## Write the Grafana boards from deploy/grafana/boards.
	$(BIN)/python deploy/grafana/build.py

chart: setup-deploy ## Write what is generated of the chart: its schema, its README's table, deploy/k8s.
	$(DEPLOY)/bin/python deploy/helm/schema.py
	$(DEPLOY)/npm/node_modules/.bin/readme-generator --values deploy/helm/antiphon/values.yaml --readme deploy/helm/antiphon/README.md
	$(DEPLOY)/bin/python deploy/k8s/build.py

images: ## Build the images, but for those for GPUs; ARGS="asr-gpu tts-gpu", REGISTRY=… TAG=….
	deploy/images/build.sh $(ARGS)

test-deploy: setup-deploy ## The tests of images, compose and chart that need no cluster.
	PATH=$(CURDIR)/$(DEPLOY)/bin:$$PATH $(DEPLOY)/bin/python -m pytest -p no:cacheprovider -c tests/deploy/pytest.ini tests/deploy $(ARGS)

test-cluster: setup setup-deploy ## The chart on a real Kubernetes, as root; or on yours, with KUBECONFIG, REGISTRY and TAG.
	$(BIN)/antiphon models fetch
	tests/cluster/run.sh $(ARGS)

board-image: setup ## Draw the README's picture of the latency board from a live run; needs Prometheus.
	$(ALONE)
	cp out/boards/latency.png docs/images/latency-board.png

format: setup ## Put the code in order.
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/buf format -w

PIN := uv pip compile --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header \
  $(foreach name,$(notdir $(PACKAGES)),--no-emit-package antiphon-$(name))
IMAGES := requirements/images
SMALL_IMAGES := build stub tts-stub asr-cpu tts-cpu llm-cpu turn-cpu orchestrator caller
constraints: ## Pin requirements/*.in again.
	$(PIN) requirements/laptop.in -o requirements/laptop.txt
	$(PIN) requirements/deploy.in -c requirements/laptop.txt -o requirements/deploy.txt
	$(PIN) requirements/nemo.in --override requirements/nemo-without.txt -o requirements/nemo.txt
	for image in $(SMALL_IMAGES); do $(PIN) $(IMAGES)/$$image.in -c requirements/laptop.txt -o $(IMAGES)/$$image.txt || exit 1; done
	for image in asr-gpu tts-gpu; do $(PIN) $(IMAGES)/$$image.in -c requirements/nemo.txt -o $(IMAGES)/$$image.txt || exit 1; done
	$(PIN) $(IMAGES)/turn-gpu.in -c requirements/laptop.txt --override $(IMAGES)/turn-gpu-without.txt -o $(IMAGES)/turn-gpu.txt
	$(subst --universal,--python-platform x86_64-unknown-linux-gnu,$(PIN)) $(IMAGES)/llm-gpu.in -o $(IMAGES)/llm-gpu.txt

clean: ## Remove the virtual environments and what runs have written.
	rm -rf $(VENV) $(NEMO) $(VLLM) $(DEPLOY) out proto/gen
