"""Callers who hang up, come back, or call in unusual ways."""

import asyncio

from ..case import ANSWER, LONG, Stack, Trial, case
from ..model import Reply
from ..phones import WebSocketPhone
from ..sounds import beep, joined, silence

GREETING = "Hello, this is the agent, and it is glad that you call."


@case("33", "16.8", "outcome hung_up, and the model is let go")
async def hang_up_in_mid_answer(trial: Trial) -> None:
    """The caller hangs up while the agent answers."""
    trial.play(Reply(LONG, gap_s=0.3))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.speaks()
        await call.sleep(1.0)
        await call.hang_up()
        turns = await call.until_turns(1, 3.0)
        await call.sleep(0.5)
    outcomes = [turn["outcome"] for turn in turns]
    trial.expect(outcomes == ["hung_up"], f"the outcome is {outcomes}")
    trial.expect(trial.requests and trial.requests[-1].ended, "the model still writes")


@case("34", "16.8", "the next caller is served")
async def hang_up_before_ready(trial: Trial) -> None:
    """Ten callers hang up at once."""
    for _ in range(10):
        phone = WebSocketPhone(trial.place.page, trial.agent)
        await phone.open(lambda _: None)
        await phone.close()
    await asyncio.sleep(0.5)
    async with trial.call() as call:
        await call.say(beep(), ANSWER)
        await call.reply()


@case("35", "16.8", "the words are heard")
async def words_before_ready(trial: Trial) -> None:
    """The caller speaks from the first moment."""
    async with trial.early_call() as call:
        await call.say(beep(1.0), ANSWER)
        await call.reply()


@case("35", "16.8", "the first words are heard", stack=Stack.REAL)
async def question_before_ready(trial: Trial) -> None:
    """The same in words."""
    async with trial.early_call() as call:
        await call.say(trial.voice.question(), ANSWER)
        await call.reply()
    said = " ".join(trial.remembered("user")).lower()
    trial.expect("what" in said or "which" in said or "how" in said, f"heard {said!r}")


@case("42", "16.7", "the call goes on without a second greeting", agent={"greeting": GREETING}, limit_s=25.0)
async def peer_connection_restarted(trial: Trial) -> None:
    """The client makes a new peer connection in the same call (restart_pc)."""
    phone = trial.webrtc()
    async with trial.call(phone=phone) as call:
        await call.speaks(6.0)
        await call.quiet(1.0)
        before_s = call.last_heard_s
        await phone.restart(call.take)
        greeted_again = await call.speaks(3.5, before_s + 0.5)
        await call.quiet(1.0)
        await call.say(joined(silence(0.3), beep()), ANSWER)
        await call.reply()
    trial.expect(not greeted_again, "the greeting is said again")


@case("46", "16.7", "answered")
async def webrtc_without_data_channel(trial: Trial) -> None:
    """A client that opens no data channel."""
    async with trial.call(phone=trial.webrtc(channel=False)) as call:
        await call.sleep(1.0)
        await call.say(beep(), ANSWER)
        await call.reply()


@case("43", "16.4", "both callers are answered")
async def two_callers_at_once(trial: Trial) -> None:
    """Two calls of one agent side by side."""
    async with trial.call() as first, trial.call() as second:
        await first.say(beep(), ANSWER)
        await second.say(beep(), ANSWER)
        await asyncio.gather(first.reply(), second.reply())
