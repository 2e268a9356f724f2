import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from antiphon_bench.call import Call, CallTurn, LineQuality, ServerError, Stage
from antiphon_bench.recording import analyse
from antiphon_bench.report import print_call, print_measure
from antiphon_bench.testing import Part, recording, tone

STAGES = (Stage("pause", 0, 96), Stage("verdict", 96, 140), Stage("llm", 140, 400), Stage("transport", 400, 402))
ANSWERED = CallTurn(
    file="1.wav",
    said="What is the capital of Italy?",
    heard="what is [the] capital of italy",
    answered="The capital of Italy is Rome, and it has been so since the third of February in the year 1871.",
    outcome="answered",
    v2v_ms=402.0,
    heard_v2v_ms=411.4,
    barge_in_ms=None,
    stages=STAGES,
    spans=STAGES,
    turn_ids=("turn-1",),
)
UNANSWERED = replace(ANSWERED, heard="", answered="", outcome="unanswered", v2v_ms=None, heard_v2v_ms=None, stages=())


def a_call(*turns: CallTurn) -> Call:
    audio = recording([Part(0, 0.5, tone(1.0, 16_000)), Part(1, 2.0, tone(1.0, 16_000))], 16_000)
    return Call(
        session_id="s-1",
        agent="ava",
        url="ws://127.0.0.1/ws",
        load_average=0.5,
        machine="Linux x86_64, 2 x Processor, Python 3.11.7",
        turns=turns,
        errors=(ServerError("LLM_DOWN", "the language model does not answer"),),
        line=LineQuality(late_ms=3.2, underruns=1, overrun_s=0.0, ignored_frames=0),
        recording=np.zeros((0, 2), np.int16),
        measured=analyse(audio),
    )


def printed(call: Call) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_call(call, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_call_is_readable_in_80_columns_without_colour() -> None:
    text = printed(a_call(ANSWERED, UNANSWERED))
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "what is [the] capital of italy" in text
    assert "heard V2V 411 ms, server's 402 ms" in text
    assert "LLM_DOWN" in text


def test_an_unanswered_turn_is_in_the_summary() -> None:
    assert "p50 411 ms, p95 no answer, max no answer (1 of 2 turns answered)" in printed(a_call(ANSWERED, UNANSWERED))


def test_the_bars_of_the_stages_tile_the_turn() -> None:
    lines = [line for line in printed(a_call(ANSWERED)).splitlines() if "█" in line or "▏" in line]
    bars = {line.split()[0]: line for line in lines}
    assert list(bars) == ["pause", "verdict", "llm", "transport"]
    assert bars["pause"].rstrip().endswith("96 ms")
    # To the eye: a stage begins in the column in which the one before ends, and even 2 ms of 402 can be seen.
    widths = {name: sum(sign in "▏▎▍▌▋▊▉█" for sign in line) for name, line in bars.items()}
    assert widths["llm"] == pytest.approx(260 / 402 * 40, abs=1.5)
    assert widths["transport"] == 1
    assert bars["llm"].index("█") == pytest.approx(bars["pause"].index("█") + 140 / 402 * 40, abs=1)


def test_a_measured_recording_lists_its_turns_and_how_they_were_found() -> None:
    parts = [
        Part(0, 0.5, tone(1.0, 16_000)),
        Part(1, 2.0, tone(2.35, 16_000)),
        Part(0, 4.0, tone(1.5, 16_000)),
        Part(1, 6.25, tone(1.0, 16_000)),
        Part(0, 9.0, tone(1.0, 16_000)),
    ]
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_measure(analyse(recording(parts, 16_000)), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "V2V: p50 750 ms, p95 no answer, max no answer (2 of 3 turns answered)" in text
    assert "3 turns: 2 answered, 1 unanswered, 0 talked over" in text
    assert "barge-in in turn 2 at 4.00 s: the agent was silent after 350 ms" in text
    assert "dBFS" in text


def test_a_recording_of_silence_is_reported_as_no_turns() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_measure(analyse(recording([], 16_000)), console)
    assert isinstance(console.file, io.StringIO)
    assert "0 turns" in console.file.getvalue()
