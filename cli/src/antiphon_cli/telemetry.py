"""What the platform's processes measure, as docs/telemetry.md tells it; as a module it writes that page."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from antiphon_asr.backends.nemo.metrics import EngineMetrics as AsrEngineMetrics
from antiphon_asr.metrics import AsrMetrics
from antiphon_bench.canary import CanaryMetrics
from antiphon_llm.metrics import LlmMetrics
from antiphon_orchestrator.metrics import Metrics as OrchestratorMetrics
from antiphon_runtime.metrics import LATENCY_BUCKETS, RpcMetrics, SlotMetrics
from antiphon_tts.backends.magpie.metrics import EngineMetrics as TtsEngineMetrics
from antiphon_tts.metrics import TtsMetrics
from antiphon_turn.metrics import TurnMetrics

PAGE = Path("docs/telemetry.md")
RPC_OUTCOMES = "`ok`, `cancelled`, `aborted`, or the reason of the error (docs/protocol.md) in lower case"
# The values of labels whose series are there only once they have been seen.
VALUES: Mapping[str, Mapping[str, str]] = {
    "antiphon_rpc_active": {"method": "`Transcribe`, `Synthesize`, `Generate` or `Detect`"},
    "antiphon_rpc_seconds": {"method": "`Transcribe`, `Synthesize`, `Generate` or `Detect`", "outcome": RPC_OUTCOMES},
    "antiphon_asr_finalize_seconds": {"mode": "`speculate`, `commit`"},
    "antiphon_asr_speech_end_seconds": {"mode": "`speculate`, `commit`"},
    "antiphon_asr_finalized": {"mode": "`speculate`, `commit`", "outcome": "`text`, `empty`"},
    "antiphon_asr_refused": {"reason": "`no_slot`, `backlog`"},
    "antiphon_asr_decodes": {"kind": "the backend's own kinds of work: `interim`, `final` …"},
    "antiphon_asr_decode_seconds": {"kind": "the backend's own kinds of work: `interim`, `final` …"},
    "antiphon_asr_step_seconds": {"context_ms": "`80`, `160`, `560`, `1120`", "kind": "`live`, `flush`"},
    "antiphon_asr_batch_size": {"context_ms": "`80`, `160`, `560`, `1120`", "kind": "`live`, `flush`"},
    "antiphon_asr_queue_wait_seconds": {"kind": "`live`, `flush`"},
    "antiphon_asr_real_time_factor": {"device": "the model's: `cpu`, `cuda:0` …"},
    "antiphon_tts_step_seconds": {"kind": "`prefill`, `step`, `vocode`"},
    "antiphon_tts_batch_size": {"kind": "`prefill`, `step`, `vocode`"},
    "antiphon_llm_tokens": {"kind": "`prompt`, `cached`, `output`, `aborted`"},
    "antiphon_llm_finished": {"reason": "`stop`, `length`, `tool_calls`, `aborted` …: the contract's finish reasons"},
    "antiphon_turn_verdicts": {"outcome": "`complete`, `incomplete`, `overtaken`"},
}


@dataclass(frozen=True, slots=True)
class Process:
    """A process and what it registers when it starts."""

    title: str
    families: tuple[Metric, ...]


def processes() -> Iterator[Process]:
    """All of them, each with its metrics in the order of their names."""
    yield _process("Every service", lambda registry: RpcMetrics.register(registry))
    yield _process("Orchestrator", OrchestratorMetrics.register)
    yield _process("ASR service", lambda registry: AsrMetrics.register(registry, dict))
    yield _process("ASR service on NeMo", lambda registry: AsrEngineMetrics.register(registry, lambda: 0.0))
    yield _process("TTS service", TtsMetrics.register)
    yield _process("TTS service on Magpie", TtsEngineMetrics.register)
    yield _process("LLM service", LlmMetrics.register)
    yield _process("Turn service", _turn)
    yield _process("Canary", CanaryMetrics.register)


def _turn(registry: CollectorRegistry) -> None:
    SlotMetrics.register(registry, "turn")
    TurnMetrics.register(registry)


def _process(title: str, register) -> Process:  # type: ignore[no-untyped-def]
    registry = CollectorRegistry()
    register(registry)
    return Process(title, tuple(sorted(registry.collect(), key=lambda family: family.name)))


def series_name(family: Metric) -> str:
    """What Prometheus calls it: a counter's ends in `_total`, a histogram's parts in `_bucket`, `_sum` and `_count`."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def labels(family: Metric) -> dict[str, str]:
    """The values of each of its labels, in words."""
    seen: dict[str, dict[str, None]] = {}
    for sample in family.samples:
        for label, value in sample.labels.items():
            if label != "le":
                seen.setdefault(label, {})[value] = None
    told = {label: ", ".join(f"`{value}`" for value in values) for label, values in seen.items()}
    return {**VALUES.get(family.name, {}), **told}


def page() -> str:
    """docs/telemetry.md."""
    lines = [HEAD.format(buckets=", ".join(f"{bound * 1000:g}" for bound in LATENCY_BUCKETS))]
    for process in processes():
        lines += [f"### {process.title}", "", "| metric | kind | labels | what it tells |", "|---|---|---|---|"]
        for family in process.families:
            told = "; ".join(f"`{label}`: {values}" for label, values in labels(family).items())
            lines.append(f"| `{series_name(family)}` | {family.type} | {told} | {family.documentation} |")
        lines.append("")
    return "\n".join([*lines, TAIL])


HEAD = """# Telemetry

Written by `make telemetry` from the code; a test fails when it is stale.

## Metrics

Every process serves Prometheus where its `METRICS_BIND` says; `antiphon up` serves each at its port plus 1000, and
`prometheus --config.file deploy/prometheus/prometheus.yml` scrapes them there. Boards are in
`deploy/grafana/dashboards`, rules and alerts in `deploy/prometheus`. Beside what follows there are the usual
`process_…` metrics. All latencies share one ladder of buckets, so that panels can be laid over each other; in
milliseconds: {buckets}.
A label's values are a closed set: no name, id or text of a call ever becomes one. In the OpenMetrics format the
orchestrator's latencies carry the trace of a turn as their exemplar.

A turn without an answer is in `antiphon_turns_total` under its outcome, and never in a latency: divide by all turns to
see what share of callers was answered in time. The stages of a turn add up to its voice-to-voice time exactly.
"""

TAIL = """## Traces

Set `OTLP_URL` of a process, such as `ANTIPHON_ASR_OTLP_URL=http://collector:4318`, or `antiphon up --otlp-url`, and it
sends its spans there (OTLP over HTTP). OpenTelemetry's own `OTEL_…` variables set sampling, batching and headers.

| span | of | what it is |
|---|---|---|
| `call` | orchestrator | a whole call, in a trace of its own: `antiphon.call.ended`, `antiphon.call.turns` |
| `turn` | orchestrator | a trace's root: from the caller's first word until the agent's last; links to its call |
| `stage NAME` | orchestrator | a stage of the critical path; the stages tile the voice-to-voice time |
| `verdict@MS`, `speech`, `overlap`, `asr`, `llm first token`, `llm`, `tool NAME`, `tts first audio`, `agent speech` | \
orchestrator | what happened in the turn, as its timeline has it |
| `asr.finalize` | ASR | the text up to a pause, or of the turn |
| `turn.verdict` | turn | whether a pause sounds like the end |
| `antiphon.llm.v1.LlmService/Generate` | LLM | one answer, or one that was dropped |
| `antiphon.tts.v1.TtsService/Synthesize` | TTS | one spoken reply |
| `antiphon.asr.v1.AsrService/Transcribe`, `antiphon.turn.v1.TurnService/Detect` | ASR, turn | the stream that \
lasts the whole call |

`turn` carries `antiphon.session.id`, `antiphon.agent`, `antiphon.turn.id`, `.outcome`, `.v2v_ms`, `.commit_reason`,
`.llm_calls`, `.speculated`, `.dropped`; with `ANTIPHON_ORCHESTRATOR_LOG_TEXT=true`, and never else, also `.heard` and
`.answered`. A span of a service carries `antiphon.session.id` and `antiphon.stream.id`.

## Logs

`LOG_FORMAT=json` makes every line of a process an object with `ts`, `level`, `logger`, `message`, and where they are
known `session_id`, `turn_id`, `trace_id`, `stream_id`. The orchestrator writes one line for each turn, with `outcome`,
`v2v_ms` and `stages_ms`. What was said is in no line unless `ANTIPHON_ORCHESTRATOR_LOG_TEXT=true`.
"""

if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}", file=sys.stderr)
