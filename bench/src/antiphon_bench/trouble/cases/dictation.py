"""Digits, letters and addresses that are dictated with pauses."""

import re
from collections.abc import Sequence

from ...wav import Samples
from ..case import Stack, Trial, case
from ..model import Reply
from ..sounds import joined, silence

GROUP = "19.4"
TEXTS = {
    "phone": ("My number is five five five", "one two three", "four five six seven."),
    "card": ("It is four one one one", "two two two two", "three three three three."),
    "spelling": ("My name is M", "I", "L", "L", "E", "R."),
    "address": ("My address is john", "dot smith", "at example", "dot com."),
}


WORDS = {
    word: str(digit)
    for digit, words in enumerate(["zero oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    for word in words.split()
}


def digits_in(text: str) -> str:
    """The digits of a text, which may be in figures or in words."""
    return "".join(WORDS.get(part, part if part.isdigit() else "") for part in re.findall(r"\d|[a-z]+", text.lower()))


async def _spoken(trial: Trial, parts: Sequence[str], pause_s: float) -> Samples:
    """The parts with pauses between."""
    pieces = [await trial.voice.words(part) for part in parts]
    return joined(*(sound for piece in pieces for sound in (piece, silence(pause_s))))


def _dictated(name: str, pause_s: float) -> None:
    @case(
        "24",
        GROUP,
        "one turn, nothing lost",
        name=f"dictated_{name}_{round(1000 * pause_s)}_ms",
        stack=Stack.REAL,
        limit_s=30.0,
    )
    async def run(trial: Trial) -> None:
        trial.play(Reply("Thank you."))
        speech = await _spoken(trial, TEXTS[name], pause_s)
        async with trial.call() as call:
            await call.say(speech, "")
            await call.reply(5.0, for_s=1.2)
            turns = await call.until_turns(1)
        heard = [turn["heard"] for turn in turns]
        trial.expect(len(turns) == 1, f"{len(turns)} turns: {heard}")
        trial.expect(len(trial.requests) == 1, f"the model was asked {len(trial.requests)} times")
        last = digits_in(TEXTS[name][-1])
        known = digits_in(" ".join(trial.remembered("user")))
        trial.expect(last in known, f"the last digits, {last}, are lost: the model knows {known!r}")


for _name in TEXTS:
    _dictated(_name, 0.9)
_dictated("card", 0.5)
