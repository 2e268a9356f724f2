import asyncio
import json
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from antiphon_bench.call import Call
from antiphon_bench.caller import place_call
from antiphon_bench.errors import (
    BadToken,
    CallDropped,
    CallError,
    NoSession,
    Refused,
    ServerFull,
    UnknownAgent,
    Unreachable,
)
from antiphon_bench.recording import measure
from antiphon_bench.testing import KnownAgent, Manner, answering, tone

# Calls take the time that they take.
pytestmark = pytest.mark.slow

WITHIN_MS = 25.0


def as_heard(true_ms: float, agent: KnownAgent, call: Call) -> object:
    """A latency is heard to 25 ms; what the machine kept either side waiting can only add to it.

    The end of speech waits to reach the agent, the answer waits to reach the caller, and the caller's tick to play it.
    """
    longest = WITHIN_MS + 2 * agent.late_ms + call.line.late_ms
    return pytest.approx(true_ms + (longest - WITHIN_MS) / 2, abs=(longest + WITHIN_MS) / 2)


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    speech = np.concatenate([np.zeros(800, np.float32), tone(0.7, 16_000), np.zeros(800, np.float32)])
    sf.write(path, speech, 16_000)
    path.with_suffix(".txt").write_text("What time is it?\n")
    return path


async def test_the_latency_heard_is_the_latency_of_the_agent(question: Path) -> None:
    async def check(manner: Manner) -> None:
        async with answering(manner) as agent:
            call = await place_call(agent.url, [question, question])
        assert [turn.outcome for turn in call.turns] == ["answered", "answered"]
        assert [turn.v2v_ms for turn in call.turns] == pytest.approx(agent.v2v_ms)
        assert [turn.turn_ids for turn in call.turns] == [("turn-1",), ("turn-2",)]
        assert [turn.heard_v2v_ms for turn in call.turns] == [as_heard(true, agent, call) for true in agent.v2v_ms]

    # 16 kHz: what the agent sends need not be at the rate of the recording.
    manners = [Manner(delay_s=0.15), Manner(delay_s=0.6, rate_hz=16_000), Manner(delay_s=1.5, ahead=True)]
    await asyncio.gather(*map(check, manners))


async def test_the_recording_saved_says_what_the_call_says(question: Path, tmp_path: Path) -> None:
    async with answering(Manner()) as agent:
        call = await place_call(agent.url, [question])
    path = tmp_path / "call.wav"
    call.save_recording(path)
    assert sf.info(path).samplerate == 24_000
    assert [turn.v2v_ms for turn in measure(path).turns] == [turn.heard_v2v_ms for turn in call.turns]


async def test_the_json_of_a_call_has_everything_but_the_token(question: Path) -> None:
    async with answering(Manner()) as agent:
        call = await place_call(agent.url, [question], agent="known", token="secret-token")
        assert agent.paths == ["/ws?agent=known&token=secret-token"]
    written = json.dumps(call.to_json())
    assert "secret-token" not in written
    data = json.loads(written)
    assert (data["session_id"], data["agent"]) == ("known-1", "known")
    assert data["url"].endswith("/ws?agent=known")
    turn = data["turns"][0]
    assert (turn["said"], turn["heard"], turn["answered"]) == ("What time is it?", "question 1", "answer 1")
    assert [stage["name"] for stage in turn["stages"]] == ["pause", "tts"]
    assert turn["stages"][-1]["end_ms"] == pytest.approx(turn["v2v_ms"])


async def test_audio_goes_out_in_real_time_without_drift(question: Path) -> None:
    async with answering(Manner(delay_s=0.4)) as agent:
        call = await place_call(agent.url, [question])
    ticks = np.array(agent.arrivals_s)
    lag_s = ticks - ticks[0] - 0.020 * np.arange(len(ticks))
    # Time that a busy machine takes away is made up for; it never adds up over the call.
    half = len(lag_s) // 2
    assert lag_s[half:].min() == pytest.approx(lag_s[:half].min(), abs=0.010)
    assert len(call.recording) == pytest.approx(len(ticks) * 480, abs=2)


async def test_the_caller_waits_for_a_greeting_to_end(question: Path) -> None:
    async with answering(Manner(greeting_s=1.0)) as agent:
        call = await place_call(agent.url, [question])
    assert [turn.outcome for turn in call.turns] == ["answered"]
    assert call.measured.overlaps == ()
    assert call.measured.turns[0].caller_start_s > 1.5
    assert call.turns[0].heard_v2v_ms == as_heard(agent.v2v_ms[0], agent, call)


async def test_a_barge_in_is_measured_and_drops_what_was_buffered(question: Path) -> None:
    async with answering(Manner(answer_s=3.0, ahead=True)) as agent:
        call = await place_call(agent.url, [question], barge_in_at_s=0.6)
    first, second = call.turns
    assert (first.outcome, second.outcome) == ("interrupted", "answered")
    assert first.said == second.said
    # The agent yields to the first frame of speech: without the drop, 2.4 s of its answer would still be heard.
    assert second.barge_in_ms is not None
    assert second.barge_in_ms < 200 + 2 * agent.late_ms + call.line.late_ms
    assert second.heard_v2v_ms == as_heard(agent.v2v_ms[1], agent, call)


async def test_no_answer_is_an_outcome_and_the_call_goes_on(question: Path) -> None:
    async with answering(Manner(silent=True)) as agent:
        call = await place_call(agent.url, [question, question], timeout_s=0.5)
    assert [turn.outcome for turn in call.turns] == ["unanswered", "unanswered"]
    assert [turn.heard_v2v_ms for turn in call.turns] == [None, None]


async def test_an_answer_that_the_server_does_not_report_is_still_measured(question: Path) -> None:
    async with answering(Manner(reports=False)) as agent:
        call = await place_call(agent.url, [question], timeout_s=3.0)
    assert call.turns[0].outcome == "unreported"
    assert call.turns[0].heard_v2v_ms == as_heard(agent.v2v_ms[0], agent, call)


async def test_a_pause_that_makes_two_turns_of_one_file_keeps_both(tmp_path: Path) -> None:
    path = tmp_path / "hesitant.wav"
    speech = tone(0.5, 16_000)
    sf.write(path, np.concatenate([speech, np.zeros(16_000, np.float32), speech]), 16_000)
    async with answering(Manner(delay_s=0.3, answer_s=0.4)) as agent:
        call = await place_call(agent.url, [path])
    (turn,) = call.turns
    assert turn.turn_ids == ("turn-1", "turn-2")
    assert (turn.heard, turn.answered) == ("question 1 question 2", "answer 1 answer 2")
    assert turn.v2v_ms == pytest.approx(agent.v2v_ms[1])
    assert turn.heard_v2v_ms == as_heard(agent.v2v_ms[1], agent, call)


async def test_malformed_frames_are_counted_and_ignored(question: Path) -> None:
    async with answering(Manner(junk=True)) as agent:
        call = await place_call(agent.url, [question])
    assert call.turns[0].outcome == "answered"
    assert call.line.ignored_frames == 4


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (HTTPStatus.SERVICE_UNAVAILABLE, ServerFull),
        (HTTPStatus.UNAUTHORIZED, BadToken),
        (HTTPStatus.FORBIDDEN, BadToken),
        (HTTPStatus.NOT_FOUND, UnknownAgent),
        (HTTPStatus.INTERNAL_SERVER_ERROR, Refused),
    ],
)
async def test_a_refused_call_says_why(question: Path, status: HTTPStatus, error: type[CallError]) -> None:
    async with answering(Manner(refuses=status)) as agent:
        with pytest.raises(error) as refused:
            await place_call(agent.url, [question], token="secret-token")
    assert "secret-token" not in str(refused.value)
    assert refused.value.call is None


async def test_nobody_there_and_no_address_are_told_apart_from_a_refusal(question: Path, unused_tcp_port: int) -> None:
    with pytest.raises(Unreachable, match=f"127.0.0.1:{unused_tcp_port}"):
        await place_call(f"ws://127.0.0.1:{unused_tcp_port}/ws", [question])
    with pytest.raises(Unreachable, match="not a WebSocket address"):
        await place_call("localhost:8080", [question])


async def test_a_server_that_is_no_websocket_is_unreachable(question: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable):
            await place_call(f"ws://127.0.0.1:{port}/ws", [question])


async def test_a_server_without_a_session_is_not_ours(question: Path) -> None:
    async with answering(Manner(introduces_itself=False)) as agent:
        with pytest.raises(NoSession):
            await place_call(agent.url, [question], connect_timeout_s=2.0)


async def test_a_server_that_dies_leaves_what_was_recorded(question: Path) -> None:
    async with answering(Manner(answer_s=2.0, dies_after_s=0.5)) as agent:
        with pytest.raises(CallDropped) as dropped:
            await place_call(agent.url, [question, question])
    call = dropped.value.call
    assert call is not None
    assert [turn.outcome for turn in call.turns] == ["unreported"]
    assert call.turns[0].heard_v2v_ms == as_heard(agent.v2v_ms[0], agent, call)


async def test_a_call_needs_something_to_say(unused_tcp_port: int) -> None:
    with pytest.raises(CallError, match="nothing to say"):
        await place_call(f"ws://127.0.0.1:{unused_tcp_port}/ws", [])
