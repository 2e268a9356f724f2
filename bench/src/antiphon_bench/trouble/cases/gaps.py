"""The caller's audio stops, stalls, comes in bursts or not at all."""

import numpy as np

from ...wav import CALL_RATE_HZ, Samples
from ..call import Call
from ..case import ANSWER, LONG, Stack, Trial, case
from ..line import Line, Silence
from ..model import Reply
from ..sounds import beep, joined, silence, utterance

GROUP = "16.2"
# The turn policy's own pause: no answer can be sooner.
PAUSE_MS = 200.0


async def _no_early_latency(trial: Trial, call: Call, number: int = 1) -> None:
    for turn in await call.until_turns(number):
        v2v_ms = turn["v2v_ms"]
        trial.expect(v2v_ms is None or v2v_ms >= PAUSE_MS, f"V2V of {v2v_ms} ms is below the policy's own pause")


async def _stalled(trial: Trial, call: Call, number: int = 1) -> None:
    await _no_early_latency(trial, call, number)
    turns = await call.turns()
    marked = any(turn["outcome"] == "stalled" and turn["v2v_ms"] is None for turn in turns)
    trial.expect(marked, f"no turn is stalled, but {[turn['outcome'] for turn in turns]}")


async def _muted(trial: Trial, cut_s: float = 0.0) -> None:
    async with trial.call() as call:
        question = trial.voice.question()
        await call.say(question[: len(question) - round(cut_s * CALL_RATE_HZ)], ANSWER)
        call.line.muted = True
        await call.reply()


def _syllable(seconds: float = 0.25) -> Samples:
    """The loudest stretch of an utterance."""
    speech, length = utterance("money"), round(seconds * CALL_RATE_HZ)
    loudness = np.convolve(np.square(speech), np.ones(length), "valid")
    at = int(loudness.argmax())
    return speech[at : at + length]


@case("1", GROUP, "answered within 3 s")
async def mute_after_words(trial: Trial) -> None:
    """The client sends nothing from the end of its words on."""
    await _muted(trial)


@case("1", GROUP, "answered within 3 s", stack=Stack.REAL, plain=True)
async def mute_after_question(trial: Trial) -> None:
    """The same on real models."""
    await _muted(trial)


@case("1", GROUP, "answered within 3 s")
async def mute_within_words(trial: Trial) -> None:
    """The client sends nothing from the middle of a word on."""
    await _muted(trial, cut_s=0.25)


@case("1", GROUP, "answered within 3 s")
async def mute_on_webrtc(trial: Trial) -> None:
    """The track goes silent with the words."""
    async with trial.call(phone=trial.webrtc()) as call:
        await call.sleep(0.5)
        await call.say(beep(), ANSWER)
        call.line.muted = True
        await call.reply()


@case("1", GROUP, "answered once, and heard again after")
async def unmute_later(trial: Trial) -> None:
    """Mute for 5 s after the words, then a second question."""
    async with trial.call() as call:
        await call.say(beep(), ANSWER)
        call.line.muted = True
        await call.reply()
        call.line.muted = False
        await call.sleep(1.0)
        await call.say(beep(), ANSWER)
        await call.reply()
    trial.expect_calls(2)


@case("D3", GROUP, "each push is answered within 3 s")
async def push_to_talk(trial: Trial) -> None:
    """Nothing is sent but while the key is held."""
    line = Line()
    line.silence = Silence.NOTHING
    async with trial.call(line=line) as call:
        for _ in range(2):
            await call.say(beep(), ANSWER)
            await call.reply()


@case("D3", GROUP, "answered within 3 s")
async def push_to_talk_with_tail(trial: Trial) -> None:
    """The key is let go 0.1 s after the words."""
    async with trial.call() as call:
        await call.say(joined(beep(), silence(0.1)), ANSWER)
        call.line.muted = True
        await call.reply()


async def _dtx(trial: Trial, kind: Silence, *, webrtc: bool) -> None:
    line = Line()
    line.silence = kind
    async with trial.call(phone=trial.webrtc() if webrtc else None, line=line) as call:
        await call.sleep(0.5)
        await call.say(beep(), ANSWER)
        end_s = call.owed[-1].at_s
        await call.reply()
        heard_s = call.heard_after(end_s)
    in_time = heard_s is not None and heard_s - end_s < 1.5 * trial.patience
    trial.expect(in_time, "the answer takes over 1.5 s: silence is waited for")


@case("2", GROUP, "answered within 1.5 s")
async def dtx_comfort_noise(trial: Trial) -> None:
    """WebRTC, a frame each 400 ms of silence."""
    await _dtx(trial, Silence.COMFORT, webrtc=True)


@case("2", GROUP, "answered within 1.5 s")
async def dtx_nothing(trial: Trial) -> None:
    """WebRTC, no frame in silence."""
    await _dtx(trial, Silence.NOTHING, webrtc=True)


@case("2", GROUP, "answered within 1.5 s")
async def dtx_on_websocket(trial: Trial) -> None:
    """A frame each 400 ms of silence."""
    await _dtx(trial, Silence.COMFORT, webrtc=False)


@case("3", GROUP, "the answer goes on, or something is said within 3 s", stack=Stack.REAL, plain=True)
async def syllable_over_answer_then_mute(trial: Trial) -> None:
    """The beginning of a word over the answer, then no audio."""
    trial.play(Reply(LONG))
    async with trial.call() as call:
        await call.say(trial.voice.question(), LONG)
        await call.speaks()
        await call.sleep(2.0)
        await call.say(_syllable(), least_s=1.0)
        call.line.muted = True
        await call.reply(5.0, length_s=14.0)


@case("3", GROUP, "the answer goes on, or something is said within 3 s")
async def click_over_answer_then_mute(trial: Trial) -> None:
    """The same with 60 ms, on stubs."""
    trial.play(Reply(LONG))
    async with trial.call() as call:
        await call.say(beep(), LONG)
        await call.speaks()
        await call.sleep(2.0)
        await call.say(beep(0.06), least_s=1.0)
        call.line.muted = True
        await call.reply(5.0, length_s=14.0)


@case("40", GROUP, "heard; outcome stalled without a latency")
async def stall_within_words(trial: Trial) -> None:
    """The line stalls for 2 s in the middle of a word, then all comes at once."""
    async with trial.call() as call:
        await call.say(beep(0.5), None)
        call.line.stall()
        await call.say(beep(0.5), None)
        await call.sleep(1.5)
        call.line.release()
        call.owe()
        await call.reply()
        await _stalled(trial, call)


@case("40", GROUP, "answered within 3 s of the stall's end; no latency below 200 ms")
async def stall_after_words(trial: Trial) -> None:
    """The line stalls for 1.2 s within the pause after the words."""
    async with trial.call() as call:
        await call.say(beep(), None)
        call.line.stall()
        await call.sleep(1.2)
        call.line.release()
        call.owe()
        await call.reply()
        await _no_early_latency(trial, call)


@case("40", GROUP, "what is said in a stall of 4 s is heard")
async def backlog_of_four_seconds(trial: Trial) -> None:
    """A whole utterance waits in the line."""
    async with trial.call() as call:
        call.line.stall()
        await call.sleep(1.0)
        await call.say(beep(), None)
        await call.sleep(2.2)
        call.line.release()
        call.owe(trial.voice.least_s(ANSWER))
        await call.reply()
        await _no_early_latency(trial, call)
    trial.expect(trial.requests, "the model was not asked")


@case("40", GROUP, "the newest 5 s are heard; V2V is not below the pause")
async def backlog_of_eight_seconds(trial: Trial) -> None:
    """More waits than is kept; the words are at its end."""
    async with trial.call() as call:
        call.line.stall()
        await call.sleep(7.0)
        await call.say(beep(), None)
        call.line.release()
        call.owe(trial.voice.least_s(ANSWER))
        await call.reply(7.0)
        await _no_early_latency(trial, call)
    trial.expect(len(trial.requests) == 1, f"the model was asked {len(trial.requests)} times, not once")


@case("40", GROUP, "answered; V2V is not below the pause")
async def jitter_in_bursts(trial: Trial) -> None:
    """Frames come ten at a time."""
    line = Line()
    line.burst_ticks = 10
    async with trial.call(line=line) as call:
        for number in (1, 2):
            await call.say(beep(), ANSWER)
            await call.reply()
            await _no_early_latency(trial, call, number)


@case("40", GROUP, "answered within 3 s")
async def lost_stretch(trial: Trial) -> None:
    """Half a second in the words never comes, and the clock goes on."""
    async with trial.call() as call:
        await call.say(beep(0.5), None)
        call.line.stall()
        await call.say(beep(0.5), None)
        call.line.forget()
        await call.say(beep(0.5), ANSWER)
        await call.reply()


@case("41", GROUP, "heard once the microphone is on")
async def microphone_off_first(trial: Trial) -> None:
    """Nothing is sent for 4 s from the start."""
    line = Line()
    line.muted = True
    async with trial.call(line=line) as call:
        await call.sleep(4.0)
        line.muted = False
        await call.sleep(0.3)
        await call.say(beep(), ANSWER)
        await call.reply()


@case("D3", GROUP, "one turn, answered within 3 s")
async def mute_between_halves(trial: Trial) -> None:
    """Mute for 0.15 s in the middle of a sentence, as a noise gate does."""
    async with trial.call() as call:
        await call.say(beep(0.5), None)
        call.line.muted = True
        await call.sleep(0.15)
        call.line.muted = False
        await call.say(beep(0.6), ANSWER)
        await call.reply()
        turns = await call.until_turns()
    trial.expect(len(turns) == 1, f"{len(turns)} turns for one sentence")
    trial.expect_calls(1)
