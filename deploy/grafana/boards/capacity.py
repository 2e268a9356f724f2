"""How much there is of everything, and how much of it is taken."""

from grafana_foundation_sdk.builders import dashboard
from parts import HALF, HERE, THIRD, WHOLE, board, figure, lines, now, percentile, percentiles, rate

SERVICES = ("asr", "tts", "llm", "turn")


def build() -> dashboard.Dashboard:
    made = board("Antiphon: capacity", "antiphon-capacity", "Calls, slots, batches, queues, processes and GPUs.")
    for part in (_calls, _services, _engines, _machine):
        made = part(made)
    return made


def _calls(made: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        made.with_row(dashboard.Row("Calls"))
        .with_panel(figure("Calls", now("antiphon_sessions_active"), unit="none"))
        .with_panel(figure("Streams", now("antiphon_rpc_active"), unit="none"))
        .with_panel(figure("Refused a second", rate("antiphon_sessions_refused_total"), unit="none", bad_over=0.001))
        .with_panel(
            lines(
                "Calls", [(now("antiphon_sessions_active", by="instance"), "{{instance}}")], unit="none", stacked=True
            )
        )
        .with_panel(
            lines(
                "Calls refused and ended",
                [
                    (rate("antiphon_sessions_refused_total", by="reason"), "refused: {{reason}}"),
                    (rate("antiphon_sessions_ended_total", by="reason"), "ended by: {{reason}}"),
                ],
                unit="none",
            )
        )
    )


def _services(made: dashboard.Dashboard) -> dashboard.Dashboard:
    used = [
        (f"{now(f'antiphon_{name}_slots_used')} / {now(f'antiphon_{name}_slots_total')}", name) for name in SERVICES
    ]
    return (
        made.with_row(dashboard.Row("Services"))
        .with_panel(
            lines("Slots taken", used, unit="percentunit", text="At 100 % a service refuses, and the next is tried.")
        )
        .with_panel(lines("Open streams", [(now("antiphon_rpc_active", by="method"), "{{method}}")], unit="none"))
        .with_panel(
            lines(
                "Streams by how they ended",
                [(rate("antiphon_rpc_seconds_count", by="outcome"), "{{outcome}}")],
                unit="none",
            )
        )
        .with_panel(lines("ASR: a finalize to its text", percentiles("antiphon_asr_finalize_seconds")))
        .with_panel(lines("LLM: first token", percentiles("antiphon_llm_first_token_seconds"), span=THIRD))
        .with_panel(lines("LLM: in the queue", percentiles("antiphon_llm_queue_seconds"), span=THIRD))
        .with_panel(
            lines(
                "LLM: tokens a second",
                [(rate("antiphon_llm_tokens_total", by="kind"), "{{kind}}")],
                unit="none",
                span=THIRD,
            )
        )
        .with_panel(lines("TTS: first audio", percentiles("antiphon_tts_first_audio_seconds"), span=THIRD))
        .with_panel(
            lines(
                "TTS: audio a second", [(rate("antiphon_tts_audio_seconds_total"), "seconds")], unit="none", span=THIRD
            )
        )
        .with_panel(lines("Turn: verdict", percentiles("antiphon_turn_verdict_seconds"), span=THIRD))
    )


def _engines(made: dashboard.Dashboard) -> dashboard.Dashboard:
    """Of the batched engines only: on other backends these panels are empty."""
    batches = [
        (f"{rate(f'antiphon_{name}_batch_size_sum')} / {rate(f'antiphon_{name}_batch_size_count')}", name)
        for name in ("asr", "tts")
    ]
    steps = [
        (percentile(0.95, f"antiphon_{name}_step_seconds", by="kind"), f"{name} {{{{kind}}}}")
        for name in ("asr", "tts")
    ]
    factor = [
        (f"max by (instance) (antiphon_{name}_real_time_factor{{{HERE}}})", f"{name} {{{{instance}}}}")
        for name in ("asr", "tts")
    ]
    return (
        made.with_row(dashboard.Row("Batched engines (NeMo, Magpie, vLLM)"))
        .with_panel(lines("Streams in a batch, mean", batches, unit="none", span=THIRD))
        .with_panel(lines("A step, p95", steps, span=THIRD))
        .with_panel(
            lines(
                "Seconds in the model for a second of audio",
                factor,
                unit="none",
                span=THIRD,
                text="Over 1, the engine falls behind.",
            )
        )
        .with_panel(
            lines(
                "ASR: audio that waits, and for how long",
                [
                    (now("antiphon_asr_backlog_seconds"), "backlog"),
                    (percentile(0.95, "antiphon_asr_queue_wait_seconds"), "wait, p95"),
                ],
            )
        )
        .with_panel(
            lines(
                "vLLM: requests",
                [
                    ('sum ({__name__=~"vllm[:_]num_requests_running"})', "running"),
                    ('sum ({__name__=~"vllm[:_]num_requests_waiting"})', "waiting"),
                ],
                unit="none",
            )
        )
    )


def _machine(made: dashboard.Dashboard) -> dashboard.Dashboard:
    cpu = f"sum by (job) (rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval]))"
    per_call = (
        f'sum (rate(process_cpu_seconds_total{{{HERE}, job=~".*orchestrator.*"}}[$__rate_interval])) / '
        f"{now('antiphon_sessions_active')}"
    )
    return (
        made.with_row(dashboard.Row("Processes and GPUs"))
        .with_panel(lines("CPU", [(cpu, "{{job}}")], unit="none", text="In cores."))
        .with_panel(lines("Memory", [(now("process_resident_memory_bytes", by="job"), "{{job}}")], unit="bytes"))
        .with_panel(lines("Orchestrator: cores a call", [(per_call, "cores")], unit="none", span=HALF))
        .with_panel(
            lines("GPU busy", [("avg by (gpu) (DCGM_FI_DEV_GPU_UTIL)", "GPU {{gpu}}")], unit="percent", span=HALF)
        )
        .with_panel(
            lines(
                "GPU memory",
                [("sum by (gpu) (DCGM_FI_DEV_FB_USED) * 1024 * 1024", "GPU {{gpu}}")],
                unit="bytes",
                span=WHOLE,
                text="From NVIDIA's DCGM exporter, which the GPU operator brings.",
            )
        )
    )
