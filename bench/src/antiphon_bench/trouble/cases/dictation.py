"""Digits, letters and addresses that are dictated with pauses."""

from ..case import Stack, Trial, case
from ..model import Reply
from ..sounds import stretched

GROUP = "19.4"
TEXTS = {
    "phone": "My number is five five five, one two three, four five six seven.",
    "card": "It is four one one one, two two two two, three three three three.",
    "spelling": "My name is M, I, L, L, E, R.",
    "address": "My address is john, dot smith, at example, dot com.",
}


def _dictated(name: str, text: str, pause_s: float) -> None:
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
        speech = stretched(await trial.voice.words(text), pause_s)
        async with trial.call() as call:
            await call.say(speech, "")
            await call.reply(5.0, for_s=1.2)
            turns = await call.until_turns(1)
        heard = [turn["heard"] for turn in turns]
        trial.expect(len(turns) == 1, f"{len(turns)} turns: {heard}")
        trial.expect(len(trial.requests) == 1, f"the model was asked {len(trial.requests)} times")


_dictated("phone", TEXTS["phone"], 0.5)
_dictated("phone", TEXTS["phone"], 0.9)
_dictated("card", TEXTS["card"], 0.5)
_dictated("spelling", TEXTS["spelling"], 0.5)
_dictated("address", TEXTS["address"], 0.5)
