"""Hundreds of interruptions at random points of an answer: each one silences the agent and leaves nothing behind."""

import asyncio
import json
import random
import statistics
import time

import pytest
from platform_fixture import AVA, Platform, platform, until
from raw_caller import RawCaller, dialled, frames_pb2, silence, speech

from antiphon_bench.testing.soak import counted

BARGE_INS = counted(full=500, reduced=24)
# Their own numbers in every answer, so that a word tells which answer it is of.
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
ANSWER = " ".join(f"{word} {{last}}" for word in NUMBERS) + "."
SILENT_AFTER_MS = 400
# So many interruptions, at most, may take longer.
MOST_OVER = 0.1
# All in one process: a busy machine carries two in real time.
CALLS = counted(full=8, reduced=2)
TIMES = -(-BARGE_INS // CALLS)


class Ear:
    """Record of the audio that a caller hears, with times."""

    def __init__(self, caller: RawCaller) -> None:
        self._caller = caller
        self.reports: list[dict[str, object]] = []
        # When audio came that is to be played, and how long it plays.
        self.last_audio_s = 0.0
        self.audible = asyncio.Event()

    async def listen(self) -> None:
        while True:
            frame = frames_pb2.Frame.FromString(await self._caller.socket.recv())
            match frame.WhichOneof("frame"):
                case "audio" if any(frame.audio.audio):
                    self.last_audio_s = time.monotonic() + len(frame.audio.audio) / 2 / frame.audio.sample_rate
                    self.audible.set()
                case "message" if '"antiphon.turn"' in frame.message.data:
                    self.reports.append(json.loads(frame.message.data)["turn"])


async def speak(caller: RawCaller, pcm: bytes) -> float:
    """In real time. Gives how late the last frame of 20 ms was, at worst, in ms."""
    start, late_s = time.monotonic(), 0.0
    for number, at in enumerate(range(0, len(pcm), 640)):
        due = start + (number + 1) * 0.02
        await caller.say(pcm[at : at + 640])
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        late_s = max(late_s, time.monotonic() - due)
    return late_s * 1000


async def interrupts(at: Platform, times: int, seed: int) -> list[dict[str, object]]:
    """A caller who asks, and each time breaks in on the answer. Gives the reports of the turns."""
    rng = random.Random(seed)
    async with dialled(at.url, longest_s=10.0 * times + 20) as caller:
        await caller.until_session()
        ear = Ear(caller)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(ear.listen(), name="listen")
            await speak(caller, speech(0.6))
            silent_ms, late_ms = [], []
            for _ in range(times):
                ear.audible.clear()
                waiting = asyncio.create_task(ear.audible.wait())
                while not waiting.done():
                    await speak(caller, silence(0.02))
                await speak(caller, silence(rng.uniform(0.0, 1.5)))
                began_s = time.monotonic()
                late_ms.append(await speak(caller, speech(0.6)))
                silent_ms.append((ear.last_audio_s - began_s) * 1000)
            # Caller, server and services share an event loop, and the sound passes each of them: where that is late,
            # so is the silence.
            room_ms = 3 * statistics.median(late_ms)
            bound_ms = SILENT_AFTER_MS + room_ms
            assert statistics.median(silent_ms) <= bound_ms, (seed, silent_ms, late_ms)
            assert sum(one > bound_ms for one in silent_ms) <= max(3, MOST_OVER * len(silent_ms)), (
                seed,
                silent_ms,
                late_ms,
            )
            while len(ear.reports) < times:
                await speak(caller, silence(0.02))
            listening.cancel()
        session = at.sessions.find(caller.session_id)
        assert session
        check_history(session.context.get_messages(), ear.reports)
        return ear.reports


def check_history(messages: list[dict[str, object]], reports: list[dict[str, object]]) -> None:
    """Check that the history has, of each answer, the text its turn reports as heard: a prefix cut at a word."""
    answers = [str(one["content"]) for one in messages if one["role"] == "assistant"]
    told = [str(report["answered"]) for report in reports if report["answered"]]
    assert answers[: len(told)] == told
    for report in reports:
        whole = ANSWER.replace("{last}", str(report["heard"]))
        assert whole.startswith(str(report["answered"])), report


@pytest.mark.timeout(60 + 10 * TIMES)
async def test_every_interruption_silences_the_agent_and_leaves_no_slot_no_stale_word_and_a_true_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = "|".join(f"word{number}" for number in range(BARGE_INS + 2))
    monkeypatch.setenv("ANTIPHON_ASR_STUB__SCRIPT", texts)
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", ANSWER)
    async with platform(agents={"ava": AVA}) as at:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(interrupts(at, TIMES, seed)) for seed in range(CALLS)]
        reports = [report for call in calls for report in call.result()]
        # Where the machine is so late that the caller breaks in on an answer that is over, that was heard as a whole.
        spoken = [report for report in reports if report["outcome"] != "interrupted"]
        assert len(spoken) <= 0.1 * len(reports), spoken
        assert all(report["answered"] == ANSWER.replace("{last}", str(report["heard"])) for report in spoken), spoken
        await until(at.idle)
    assert len(reports) >= BARGE_INS
    assert any(report["answered"] for report in reports)
