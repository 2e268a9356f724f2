"""Dashboard of callers' waiting times and their causes."""

from grafana_foundation_sdk.builders import dashboard
from parts import (
    HALF,
    HERE,
    SLO_S,
    THIRD,
    WHOLE,
    bars,
    board,
    figure,
    heat,
    lines,
    now,
    percentile,
    percentiles,
    rate,
)

ANSWERED = 'outcome="answered"'
V2V = "antiphon_v2v_seconds"
STAGE = "antiphon_stage_seconds"
IN_TIME = (
    f'sum (rate({V2V}_bucket{{{HERE}, {ANSWERED}, le="{SLO_S}"}}[$__rate_interval])) / '
    f"(sum (rate({V2V}_count{{{HERE}, {ANSWERED}}}[$__rate_interval])) + "
    f'sum (rate(antiphon_turns_total{{{HERE}, outcome=~"failed|unanswered"}}[$__rate_interval])))'
)
MEANS = f"{rate(f'{STAGE}_sum', by='stage')} / ignoring (stage) group_left {rate(f'{V2V}_count')}"
SPREAD = f"{percentile(0.95, STAGE, by='stage')} - {percentile(0.5, STAGE, by='stage')}"
SLOWED = f"sum by (stage) (increase(antiphon_slow_turns_total{{{HERE}}}[$__range]))"


def build() -> dashboard.Dashboard:
    made = board("Antiphon: latency", "antiphon-latency", "Voice-to-voice time, turn by turn, and where it goes.")
    for part in (_headline, _stages, _conversation, _line):
        made = part(made)
    return made


def _headline(made: dashboard.Dashboard) -> dashboard.Dashboard:
    in_time = f"Of all turns that the caller did not break off, those answered within {SLO_S:g} s. A failure is not."
    return (
        made.with_row(dashboard.Row("Voice to voice"))
        .with_panel(figure("p50", percentile(0.5, V2V, where=ANSWERED), bad_over=SLO_S))
        .with_panel(figure("p95", percentile(0.95, V2V, where=ANSWERED), bad_over=2 * SLO_S))
        .with_panel(figure("p99", percentile(0.99, V2V, where=ANSWERED), bad_over=3 * SLO_S))
        .with_panel(figure("Answered in time", IN_TIME, unit="percentunit", text=in_time, bad_under=0.95))
        .with_panel(figure("Turns a second", rate("antiphon_turns_total"), unit="none"))
        .with_panel(figure("Calls", now("antiphon_sessions_active"), unit="none"))
        .with_panel(lines("V2V, answered turns", percentiles(V2V, where=ANSWERED), text="Server's clock."))
        .with_panel(heat("V2V, answered turns", V2V, where=ANSWERED))
        .with_panel(
            lines("Turns by outcome", [(rate("antiphon_turns_total", by="outcome"), "{{outcome}}")], unit="none")
        )
        .with_panel(lines("Answered in time", [(IN_TIME, "share")], unit="percentunit", text=in_time))
    )


def _stages(made: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        made.with_row(dashboard.Row("Where the time goes"))
        .with_panel(
            lines(
                "Budget: the mean of each stage",
                [(MEANS, "{{stage}}")],
                stacked=True,
                text="The stages tile V2V, so their means add up to its mean.",
            )
        )
        .with_panel(lines("p95 of each stage", [(percentile(0.95, STAGE, by="stage"), "{{stage}}")]))
        .with_panel(
            bars(
                "Slow turns by the stage that made them slow",
                SLOWED,
                "{{stage}}",
                unit="none",
                span=THIRD,
                text="Turns over 1.1 times the recent median, each under the stage that exceeded its own median most.",
            )
        )
        .with_panel(
            bars("Spread of each stage: p95 - p50", SPREAD, "{{stage}}", span=THIRD, text="What varies makes tails.")
        )
        .with_panel(heat("$stage", STAGE, where='stage=~"$stage"', span=THIRD))
        .with_variable(
            dashboard.CustomVariable("stage").values("llm,pause,verdict,transcript,tool,clause,tts,transport")
        )
        .with_panel(
            lines(
                "Time to first answer of each service, p95",
                [(percentile(0.95, "antiphon_ttfb_seconds", by="service"), "{{service}}")],
                span=WHOLE,
                text="As the orchestrator sees it, the network included.",
            )
        )
    )


def _conversation(made: dashboard.Dashboard) -> dashboard.Dashboard:
    calls = f"{rate('antiphon_llm_calls_per_turn_sum')} / {rate('antiphon_llm_calls_per_turn_count')}"
    return (
        made.with_row(dashboard.Row("Conversation"))
        .with_panel(lines("Barge-in to silence", percentiles("antiphon_barge_in_seconds"), span=THIRD))
        .with_panel(
            lines(
                "False interruptions and empty utterances",
                [
                    (rate("antiphon_false_interruptions_total"), "fell silent in vain"),
                    (rate("antiphon_empty_utterances_total"), "no words"),
                ],
                unit="none",
                span=THIRD,
            )
        )
        .with_panel(
            lines("Tools, p95", [(percentile(0.95, "antiphon_tool_seconds", by="tool"), "{{tool}}")], span=THIRD)
        )
        .with_panel(
            lines(
                "Answers begun before the turn was over",
                [(rate("antiphon_speculations_total", by="event"), "{{event}}")],
                unit="none",
            )
        )
        .with_panel(lines("LLM calls a turn", [(calls, "mean")], unit="none"))
    )


def _line(made: dashboard.Dashboard) -> dashboard.Dashboard:
    heard = [
        (f"histogram_quantile({share}, sum by (le) (rate(antiphon_canary_v2v_seconds_bucket[1h])))", name)
        for share, name in ((0.5, "p50 of the last hour"), (0.95, "p95 of the last hour"))
    ]
    return (
        made.with_row(dashboard.Row("The way in and out"))
        .with_panel(
            lines(
                "Audio that comes late, p95",
                [(percentile(0.95, "antiphon_audio_ingress_lag_seconds"), "behind the promptest")],
                span=THIRD,
            )
        )
        .with_panel(
            lines(
                "Event loop lag, p99",
                [(percentile(0.99, "antiphon_event_loop_lag_seconds"), "late")],
                span=THIRD,
                text="What is due in the orchestrator runs this late; more than 20 ms is heard.",
            )
        )
        .with_panel(
            lines(
                "Gaps that callers heard",
                [(rate("antiphon_client_underruns_total"), "a second")],
                unit="none",
                span=THIRD,
            )
        )
        .with_panel(lines("V2V as the canary hears it", heard, span=HALF, text="From the recording of its calls."))
        .with_panel(
            lines(
                "Words that the canary said and was not understood in",
                [
                    (
                        "sum (rate(antiphon_canary_word_errors_total[1h])) / "
                        "sum (rate(antiphon_canary_words_total[1h]))",
                        "WER",
                    )
                ],
                unit="percentunit",
                span=HALF,
            )
        )
    )
