"""A model server that stalls, trickles, fails, or says what must not be said."""

from typing import Any

from ..case import ANSWER, Trial, case
from ..model import Reply
from ..sounds import beep

SAID = "rome"


async def _answered(trial: Trial, *replies: Reply, answer: str = "", within_s: float = 5.0) -> list[dict[str, Any]]:
    trial.play(*replies)
    async with trial.call() as call:
        await call.say(beep(), answer)
        await call.reply(within_s)
        return await call.until_turns()


def _apologizes(name: str, row: str, reply: Reply, within_s: float = 5.0) -> None:
    @case(row, "16.8", "something is said, and the next question is answered", name=name)
    async def run(trial: Trial) -> None:
        trial.script(lambda number, messages: Reply(ANSWER) if _questions(messages) > 1 else reply)
        async with trial.call() as call:
            await call.say(beep(), "")
            await call.reply(within_s)
            await call.sleep(0.3)
            await call.say(beep(), ANSWER)
            await call.reply()


def _questions(messages: list[dict[str, Any]]) -> int:
    said = " ".join(str(message.get("content")) for message in messages if message.get("role") == "user")
    return said.count("question")


_apologizes("empty_answer", "19", Reply())
_apologizes("blank_answer", "20", Reply(pieces=(" \n ",)))
_apologizes("server_fails", "23", Reply("no", status=500))
_apologizes("server_refuses", "23", Reply("bad request", status=400))
_apologizes("answer_cut", "12", Reply("Sure, I can help you with that. Let me look into the", then="cut"))
_apologizes("answer_of_an_emoji", "45", Reply("👍"))


@case("12", "16.8", "given up, and said so", limit_s=25.0)
async def answer_stalls(trial: Trial) -> None:
    """Some words, then nothing for ever."""
    head = "Sure, I can help you with that today. And the second thing that I"
    trial.play(Reply(head, then="stall"), Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        # The words so far, and at least a second more: the apology.
        said_s = trial.voice.least_s(head) + 1.0
        trial.expect(await call.until(lambda: call.sound_s > said_s, 14.0), "nothing is said after the stall")
        await call.quiet()


async def _trickles(trial: Trial, gap_s: float, within_s: float) -> None:
    text = "Well let me think about that for a moment please."
    trial.play(Reply(text, gap_s=gap_s))
    async with trial.call() as call:
        await call.say(beep(), "")
        end_s = call.owed[-1].at_s
        await call.reply(within_s, for_s=max(1.0, 1.5 * gap_s), length_s=10 * gap_s + 4)
        heard_s = call.heard_after(end_s)
        turns = await call.until_turns(1, 2.0)
    trial.expect(heard_s is not None, "nothing is heard of an answer that trickles")
    errors = " ".join(turn["error"] for turn in turns)
    trial.expect("tts" not in errors, f"the voice is blamed: {errors}")


@case("13", "16.8", "spoken as it comes")
async def trickle_of_300_ms(trial: Trial) -> None:
    """A word each 300 ms."""
    await _trickles(trial, 0.3, 5.0)


@case("13", "16.8", "something is heard within 3 s")
async def trickle_of_800_ms(trial: Trial) -> None:
    """A word each 800 ms."""
    await _trickles(trial, 0.8, 9.0)


@case("13", "16.8", "something is heard within 3 s, and the voice is not blamed", limit_s=50.0)
async def trickle_of_3_s(trial: Trial) -> None:
    """A word each 3 s."""
    await _trickles(trial, 3.0, 14.0)


async def _silent_about(trial: Trial, reply: Reply, *words: str) -> None:
    trial.play(reply, Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.reply()
        await call.say(beep(), "")
        await call.reply()
    remembered = " ".join(trial.remembered("assistant"))
    for word in words:
        trial.expect(word not in remembered, f"spoken and remembered: {remembered[:80]!r}")


@case("21", "20.2", "a thought is not spoken")
async def thought_in_tags(trial: Trial) -> None:
    """A thought in tags at the beginning."""
    pieces = ("<think>", "The user wants a capital.", "</think>", "\n\nIt is Rome.")
    await _silent_about(trial, Reply(pieces=pieces), "capital")


@case("21", "20.2", "a thought is not spoken")
async def thought_without_opening(trial: Trial) -> None:
    """A thought that is closed and was never opened."""
    pieces = ("Okay, the user wants a capital. ", "I should be brief.", "</think>", "\n\nIt is Rome.")
    await _silent_about(trial, Reply(pieces=pieces), "capital", "think>")


@case("21", "20.2", "a thought is not spoken")
async def thought_in_other_tags(trial: Trial) -> None:
    """A thought in the tag of another family of models."""
    pieces = ("<thinking>", "The user wants a capital.", "</thinking>", "It is Rome.")
    await _silent_about(trial, Reply(pieces=pieces), "capital", "thinking>")


@case("21", "20.2", "a thought is not spoken")
async def thought_in_a_field(trial: Trial) -> None:
    """A thought in a field of its own."""
    await _silent_about(trial, Reply("It is Rome.", thought="The user wants a capital."), "capital")


@case("21", "20.2", "a tool call in words is not spoken")
async def tool_call_in_words(trial: Trial) -> None:
    """A call as text, from a server without a parser of them."""
    pieces = ('<tool_call>\n{"name": "look_up", "arguments": {"query": "opening hours"}}\n</tool_call>',)
    await _silent_about(trial, Reply(pieces=pieces), "tool_call", "arguments")


@case("22", "20.4", "the answer stands, without an apology")
async def finish_of_a_filter(trial: Trial) -> None:
    """A whole answer whose finish reason is content_filter."""
    turns = await _answered(trial, Reply("It is Rome, of course.", finish="content_filter"))
    trial.expect(turns and not turns[0]["error"], f"taken for a failure: {turns and turns[0]['error']}")
    trial.expect(turns and not turns[0]["apologized"], "the agent apologizes for a whole answer")


@case("22", "20.4", "the answer stands")
async def finish_of_length(trial: Trial) -> None:
    """A whole answer whose finish reason is length."""
    turns = await _answered(trial, Reply("It is Rome, of course.", finish="length"), answer="It is Rome, of course.")
    trial.expect(turns and turns[0]["outcome"] == "answered", "not answered")


@case("23", "20.3", "the oldest turns go, and the call goes on", limit_s=40.0)
async def context_over_the_window(trial: Trial) -> None:
    """A server that refuses more than six messages, as vLLM does."""

    def script(_: int, messages: list[dict[str, Any]]) -> Reply:
        if len(messages) > 6:
            return Reply("This model's maximum context length is 2048 tokens. However, you requested 2100.", status=400)
        return Reply("It is Rome.")

    trial.script(script)
    async with trial.call() as call:
        for _ in range(5):
            await call.say(beep(), None)
            await call.speaks(4.0)
            await call.quiet(0.7)
            if call.closed_s is not None:
                break
        turns = await call.until_turns(5)
    outcomes = [turn["outcome"] for turn in turns]
    trial.expect(outcomes == ["answered"] * 5, f"the turns are {outcomes}")


@case(
    "D4",
    "16.4",
    "cut after a bounded time, and the next question is answered",
    agent={"max_token_count": 40},
    alone=True,
)
async def answer_without_end(trial: Trial) -> None:
    """A server that ignores the most tokens and goes on for ever."""
    trial.play(Reply("and then some more", then="repeat", gap_s=0.01), Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.speaks()
        over = await call.quiet(1.0, 14.0)
    trial.expect(over, "an answer goes on for over 14 s, of 40 tokens")
    trial.expect(trial.requests and trial.requests[0].ended != "", "the server still writes")
