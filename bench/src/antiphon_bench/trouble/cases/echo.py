"""The agent's own sound comes back through the caller's loudspeaker."""

from ..case import LONG, Stack, Trial, case
from ..line import Echo
from ..model import Reply

GROUP = "19.2"


async def _echo(trial: Trial, gain_db: float, delay_s: float) -> None:
    trial.play(Reply(LONG))
    async with trial.call() as call:
        call.line.echo = Echo(gain_db, delay_s)
        await call.say(trial.voice.question(), LONG)
        await call.speaks()
        await call.quiet(2.0, 14.0)
    trial.expect_calls(1)


def _level(gain_db: float, delay_s: float) -> None:
    @case(
        "5",
        GROUP,
        "the answer is heard to its end with one model call",
        name=f"echo_{-round(gain_db)}_db_under",
        stack=Stack.REAL,
        limit_s=30.0,
    )
    async def run(trial: Trial) -> None:
        await _echo(trial, gain_db, delay_s)


for _gain_db, _delay_s in ((-4.0, 0.25), (-14.0, 0.16), (-26.0, 0.1), (-34.0, 0.1), (-42.0, 0.1)):
    _level(_gain_db, _delay_s)


@case("5", GROUP, "the agent is silent within 400 ms of the words", stack=Stack.REAL, limit_s=30.0)
async def barge_in_through_echo(trial: Trial) -> None:
    """The caller breaks in while the agent's echo is on the line."""
    trial.play(Reply(LONG), Reply("It is Rome."))
    async with trial.call() as call:
        call.line.echo = Echo(-14.0, 0.16)
        await call.say(trial.voice.question(), "")
        await call.speaks()
        await call.sleep(1.5)
        trial.expect(call.now - call.last_heard_s < 0.6, "the answer had broken off before the caller spoke")
        began_s = call.now
        await call.say(trial.voice.question(2), "")
        ends_s = [min(span.end_s, call.now) for span in call.spans if span.start_s < began_s]
        spoken_s = max(ends_s, default=began_s) - began_s
        await call.reply(5.0)
    trial.expect(spoken_s < 1.0, f"the agent spoke on for {spoken_s:.2f} s")
    trial.expect_calls(2)
    said = " ".join(trial.remembered("user"))
    trial.expect("answer" not in said, f"the agent's own words are the caller's: {said!r}")
