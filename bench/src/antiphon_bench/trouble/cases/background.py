"""Voices and noises behind the caller, and callers who are hard to hear."""

import asyncio
from collections.abc import Callable

from ...wav import Samples
from ..case import ANSWER, Stack, Trial, case
from ..sounds import hum, joined, louder, music, ring_back, silence, stationary, television, whispered

GROUP = "19.3"


async def _behind(trial: Trial, noise: Samples) -> None:
    async with trial.call() as call:
        call.line.noise = noise
        await call.sleep(2.0)
        await call.say(trial.voice.question(), "")
        await call.reply(6.0)


def _television(db: float) -> None:
    @case("4", GROUP, "answered within 3 s", name=f"television_{-round(db)}_db_under", stack=Stack.REAL)
    async def run(trial: Trial) -> None:
        await _behind(trial, television(db))


for _db in (-20.0, -30.0, -40.0):
    _television(_db)


@case("10", GROUP, "answered", stack=Stack.REAL, plain=True)
async def whispered_question(trial: Trial) -> None:
    """The caller whispers."""
    sound = await asyncio.to_thread(whispered, "train")
    async with trial.call() as call:
        await call.say(sound, ANSWER)
        await call.reply(6.0)


@case("37", GROUP, "answered", stack=Stack.REAL)
async def quiet_caller(trial: Trial) -> None:
    """The caller is 26 dB quieter than usual."""
    async with trial.call() as call:
        await call.say(louder(trial.voice.question(), -26.0), ANSWER)
        await call.reply()


def _no_words(name: str, sound: Callable[[], Samples]) -> None:
    @case("36", "19.5", "gives no words", name=name, stack=Stack.REAL)
    async def run(trial: Trial) -> None:
        async with trial.call() as call:
            await call.say(joined(sound(), silence(0.3)), None)
            await call.sleep(3.0)
            heard = [turn["heard"] for turn in await call.turns() if turn["heard"]]
            said = [message["content"] for request in trial.requests for message in request.messages[1:]]
            # The agent still hears.
            await call.say(trial.voice.question(), ANSWER)
            await call.reply()
        trial.expect(not heard and not said, f"the recognizer heard {heard or said}")


_no_words("ring_back_is_no_word", ring_back)
_no_words("music_is_no_word", music)
_no_words("hum_is_no_word", hum)


@case("36", "16.9", "each question is remembered once", stack=Stack.REAL, limit_s=30.0)
async def question_over_noise_is_remembered_once(trial: Trial) -> None:
    """Two questions over stationary noise of -45 dBFS."""
    async with trial.call() as call:
        call.line.noise = stationary(-45.0)
        for number in (1, 2):
            await call.say(trial.voice.question(number), "")
            await call.reply()
    for text in trial.remembered("user"):
        words = text.lower().split()
        half = len(words) // 2
        trial.expect(half < 3 or words[:half] != words[half : 2 * half], f"remembered twice: {text!r}")
