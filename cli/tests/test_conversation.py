"""The callers of the conversation's bench, and its figures."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pipecat.frames.protobufs import frames_pb2
from rich.console import Console
from websockets.asyncio.server import ServerConnection, serve

from antiphon_bench.frames import AgentAudio, decode
from antiphon_bench.stats import summarise
from antiphon_cli.conversation.capacity import _held
from antiphon_cli.conversation.crowd import crowd
from antiphon_cli.conversation.report import calls_table, headline, held_table, tail
from antiphon_cli.conversation.sides import OFF, ON, PLAIN, QUESTION, SIDES, injected_ms

PROFILE = "rtx5090"


@asynccontextmanager
async def bot(answers: dict[int, int]) -> AsyncIterator[str]:
    """Reports a turn when a question is over, 100 ms long; call number `n` is closed after `answers[n]` of them."""
    calls = iter(range(100))

    async def call(socket: ServerConnection) -> None:
        left, spoke = answers.get(next(calls), 100), False
        async for payload in socket:
            audio = decode(payload)
            speaks = isinstance(audio, AgentAudio) and bool(abs(audio.samples).max() > 0.02)
            if spoke and not speaks:
                if not left:
                    return
                left -= 1
                turn = {"type": "antiphon.turn", "turn": {"outcome": "answered", "v2v_ms": 100.0}}
                message = frames_pb2.MessageFrame(data=json.dumps(turn))
                await socket.send(frames_pb2.Frame(message=message).SerializeToString())
            spoke = speaks

    async with serve(call, "127.0.0.1", 0, compression=None) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"


async def test_a_call_that_is_lost_has_no_further_answers_and_the_others_go_on() -> None:
    async with asyncio.timeout(30), bot({0: 0}) as url:
        heard = await crowd(url, QUESTION, callers=2, turns=1)
    assert sorted(heard.v2v_ms, key=str) == [100.0, None]
    assert len(heard.late_ms) > QUESTION.stat().st_size / 640 and min(heard.late_ms) >= 0


def test_a_step_is_held_within_a_quarter_of_one_session_and_with_every_answer() -> None:
    assert _held(summarise([500.0] * 10), 400.0)
    assert not _held(summarise([501.0] * 10), 400.0)
    assert not _held(summarise([400.0] * 99 + [None]), 400.0)
    assert not _held(summarise([400.0]), None)


def row(side: str, v2v_ms: float | None, **more: Any) -> dict[str, Any]:
    outcome = "answered" if v2v_ms else "unanswered"
    heard_ms = v2v_ms + 20 if v2v_ms else None
    figures = {"profile": PROFILE, "side": side, "outcome": outcome, "v2v_ms": v2v_ms, "heard_v2v_ms": heard_ms}
    return {**figures, "llm_calls": 1, "dropped": None, "held_for": "", "commit_reason": "verdict", **more}


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    held = row(ON, 1500.0, held_for="words", commit_reason="timeout", dropped=0)
    ours = [row(ON, 400.0, dropped=1) for _ in range(3)]
    return [*ours, held, *(row(OFF, 500.0, dropped=0) for _ in range(3)), row(PLAIN, 800.0), row(PLAIN, 800.0)]


def test_turns_that_were_held_open_are_listed_and_count_for_nothing_in_the_tail(rows: list[dict[str, Any]]) -> None:
    assert tail([one for one in rows if one["side"] == ON]) == 1.0
    console = Console(width=120)
    with console.capture() as captured:
        console.print(held_table(rows))
    lines = captured.get().splitlines()
    assert len([line for line in lines if PROFILE in line]) == 1 == held_table(rows).row_count
    assert any({"words", "timeout", "1500", "1520"} <= set(line.split()) for line in lines)


def test_the_last_line_has_each_side_and_ours_over_the_plain_bot_by_both_clocks(rows: list[dict[str, Any]]) -> None:
    crowds = [
        {"side": side, "sessions": count, "held": held} for side, count, held in ((ON, 8, True), (PLAIN, 4, True))
    ]
    words = headline({"turns": [*rows, row(PLAIN, None)], "capacity": crowds}).split()
    told = dict(word.split("=") for word in words[2:])
    assert words[:2] == ["BENCH", "conversation"]
    assert {f"{PROFILE}_{side}_{key}" for side in SIDES for key in ("p50", "p99", "heard", "calls")} <= set(told)
    assert (told[f"{PROFILE}_ratio"], told[f"{PROFILE}_heard_ratio"]) == ("0.5", "0.51")
    assert (told[f"{PROFILE}_plain_unanswered"], told[f"{PROFILE}_plain_p99"]) == ("1", "None")
    assert (told[f"{PROFILE}_on_held"], told["sessions_ratio"]) == ("1", "2.0")
    assert calls_table(rows).row_count == 3


def test_what_is_injected_is_what_each_side_waits_for() -> None:
    assert [injected_ms(PROFILE, side) for side in SIDES] == [
        200 + 171 + 101,
        64 + 19 + 171 + 101,
        200 + 19 + 171 + 101,
    ]
    assert {injected_ms("zero", side) for side in SIDES} == {200}
