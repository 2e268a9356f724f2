"""Callers of other rates: heard as soon as those of 16 kHz."""

import statistics

from ..call import Call
from ..case import ANSWER, Trial, case
from ..line import Format
from ..model import Reply
from ..sounds import beep

GROUP = "16.6"
QUESTIONS = 7
# The goal is 20 ms, which `make bench-rates` holds; what is heard here is known to a tick of 20 ms on either side.
# A resampler that withholds audio is 65 ms late or more.
MOST_LATER_S = 0.045


async def _wait(call: Call) -> float | None:
    """From the end of a question to the first sound of its answer."""
    await call.say(beep(0.5), "")
    end_s = call.owed[-1].at_s
    await call.reply(4.0, for_s=0.5)
    heard_s = call.heard_after(end_s)
    return None if heard_s is None else heard_s - end_s


async def _compared(trial: Trial, form: Format) -> None:
    """Two calls side by side, which ask in turn: the same machine, as busy for both."""
    trial.play(Reply("It is."))
    waits: dict[int, list[float]] = {0: [], 1: []}
    async with trial.call() as usual, trial.call(form=form) as other:
        for _ in range(QUESTIONS):
            for side, call in enumerate((usual, other)):
                if (wait_s := await _wait(call)) is not None:
                    waits[side].append(wait_s)
    answered = min(map(len, waits.values()))
    trial.expect(answered == QUESTIONS, f"{answered} of {QUESTIONS} questions are answered on both sides")
    if answered:
        later_s = statistics.median(waits[1]) - statistics.median(waits[0])
        trial.expect(later_s < MOST_LATER_S, f"{form.rate_hz} Hz is heard {1000 * later_s:.0f} ms later than 16 kHz")


def _rate(form: Format, name: str) -> None:
    @case("D5", GROUP, "as quick as 16 kHz", name=name, alone=True, limit_s=40.0)
    async def run(trial: Trial) -> None:
        await _compared(trial, form)


_rate(Format(8_000), "caller_of_8_khz")
_rate(Format(48_000), "caller_of_48_khz")


@case("38", GROUP, "answered")
async def caller_of_44_khz_in_stereo(trial: Trial) -> None:
    """A sound card's rate, two channels."""
    async with trial.call(form=Format(44_100, 2)) as call:
        await call.say(beep(), ANSWER)
        await call.reply()
