"""The voice on its last stretch, and the words that go with it."""

import asyncio
import time

from own_bot import bot, settles
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.utils.text.base_text_aggregator import TextType

from antiphon_orchestrator.turns.playout import Playout
from antiphon_orchestrator.turns.reply_gate import ReplyGate

MS = 1_000_000


def word(text: str, at_ns: int) -> TTSTextFrame:
    frame = TTSTextFrame(text, TextType.WORD)
    frame.pts = at_ns
    return frame


async def test_a_pause_holds_the_chunk_and_gives_it_when_it_is_over() -> None:
    playout = Playout()
    playout.pause()
    chunk = asyncio.create_task(playout.filter(b"xx"))
    done, _ = await asyncio.wait([chunk], timeout=0.05)
    assert not done
    playout.resume()
    assert await chunk == b"xx"


async def test_a_lost_line_holds_the_chunk_whatever_interrupts_or_closes_meanwhile() -> None:
    playout = Playout()
    playout.line_lost()
    chunk = asyncio.create_task(playout.filter(b"xx"))
    for call in (playout.pause, playout.resume, playout.keep_floor):
        call()
        await asyncio.sleep(0)
        assert not chunk.done() and playout.paused
    playout.line_restored()
    assert await chunk == b"xx" and not playout.paused


async def test_a_restored_line_does_not_end_a_pause() -> None:
    playout = Playout()
    playout.pause()
    playout.line_lost()
    playout.line_restored()
    assert playout.paused
    playout.resume()
    assert not playout.paused


async def test_a_dropped_reply_gives_nothing_more_until_another_begins() -> None:
    playout = Playout()
    playout.pause()
    chunk = asyncio.create_task(playout.filter(b"xx"))
    await asyncio.sleep(0)
    playout.drop()
    assert await chunk == b"" and await playout.filter(b"xx") == b""
    playout.begin()
    assert await playout.filter(b"xx") == b"xx"


async def test_it_tells_what_is_left_once_the_reply_is_whole() -> None:
    playout = Playout()
    await playout.start(24_000)
    assert playout.left_ms == 0
    playout.begin()
    playout.queued(bytes(48_000))
    assert playout.left_ms is None
    playout.end()
    await playout.filter(bytes(12_000))
    assert playout.left_ms == 750


async def test_it_waits_as_much_longer_as_it_was_paused() -> None:
    playout = Playout()
    began_ns = time.monotonic_ns()
    waiting = asyncio.create_task(playout.wait(began_ns + 300 * MS, playout.paused_ns))
    await asyncio.sleep(0.01)
    playout.pause()
    await asyncio.sleep(0.4)
    assert not waiting.done()
    playout.resume()
    await waiting
    assert time.monotonic_ns() - began_ns >= 300 * MS + playout.paused_ns and playout.paused_ns >= 400 * MS


async def test_a_pause_before_it_waits_counts_as_well() -> None:
    playout = Playout()
    before_ns, due_ns = playout.paused_ns, time.monotonic_ns()
    playout.pause()
    await asyncio.sleep(0.02)
    playout.resume()
    await playout.wait(due_ns, before_ns)
    assert time.monotonic_ns() >= due_ns + playout.paused_ns


class Written:
    """A transport that writes chunks of 40 ms at given times, in ms."""

    def __init__(self) -> None:
        self.ms = 0
        self.playout = Playout(lambda: self.ms * MS)
        self.playout.begin()

    async def at(self, *times_ms: int) -> float:
        """Writes one at each of these times, and gives by how much the voice has fallen behind, in ms."""
        for ms in times_ms:
            self.ms = ms
            assert await self.playout.filter(bytes(1920))
        return self.playout.paused_ns / MS


async def test_a_transport_that_falls_behind_holds_the_words_up() -> None:
    written = Written()
    written.playout.queued(bytes(48_000))
    assert await written.at(0, 40, 80) == 0
    assert await written.at(150, 190) == 30
    # One that was late by itself does not count again when the next is in time.
    assert await written.at(235, 270, 310) == 35
    assert await written.at(400) == 80


async def test_a_gap_in_the_voice_and_a_pause_are_not_counted_twice() -> None:
    written = Written()
    written.playout.queued(bytes(1920 * 2 + 100))
    assert await written.at(0, 40) == 0
    written.playout.queued(bytes(48_000))  # what was left was no whole chunk
    assert await written.at(500, 540) == 0
    written.playout.pause()
    written.ms = 740
    written.playout.resume()
    assert await written.at(780, 820) == 200


async def test_words_wait_while_the_voice_is_paused_and_sound_does_not() -> None:
    playout = Playout()
    gate = ReplyGate(playout)
    async with bot(gate) as at:
        now_ns = gate.get_clock().get_time()
        end = LLMFullResponseEndFrame()
        end.pts = now_ns + 40 * MS
        playout.pause()
        frames: list[Frame] = [
            LLMFullResponseStartFrame(),
            word("one", now_ns),
            TTSAudioRawFrame(bytes(960), 24_000, 1),
        ]
        await at.send(*frames, word("two", now_ns + 40 * MS), TTSStoppedFrame(), end)
        await at.down.until(TTSStoppedFrame)
        await asyncio.sleep(0.06)
        assert not at.down.of(TTSTextFrame) and at.down.of(TTSAudioRawFrame) and not at.down.of(LLMFullResponseEndFrame)
        assert playout.said == ""
        playout.resume()
        await at.down.until(LLMFullResponseEndFrame)
        assert [frame.text for frame in at.down.of(TTSTextFrame)] == ["one", "two"] and playout.said == "one two"


async def test_words_that_were_not_due_when_the_agent_was_interrupted_are_never_told() -> None:
    playout = Playout()
    gate = ReplyGate(playout)
    async with bot(gate) as at:
        now_ns = gate.get_clock().get_time()
        kept = word("always", now_ns + 30 * MS)
        kept.interruptible = False
        await at.send(LLMFullResponseStartFrame(), word("one", now_ns), word("two", now_ns + 60_000 * MS), kept)
        await at.down.until(TTSTextFrame)
        await at.send(InterruptionFrame())
        await at.down.until(InterruptionFrame)
        await at.down.until(TTSTextFrame, 2)
        assert [frame.text for frame in at.down.of(TTSTextFrame)] == ["one", "always"]


async def test_the_end_of_the_call_waits_for_the_last_word() -> None:
    gate = ReplyGate(Playout())
    async with bot(gate) as at:
        now_ns = gate.get_clock().get_time()
        await at.send(LLMFullResponseStartFrame(), word("goodbye", now_ns + 50 * MS))
        await at.worker.stop_when_done()
        await settles(lambda: at.running.done())
        assert [frame.text for frame in at.down.of(TTSTextFrame)] == ["goodbye"]
