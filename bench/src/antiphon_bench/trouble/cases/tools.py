"""Tools that fail, hang or are interrupted."""

from ..case import ANSWER, Trial, case
from ..judge import unfinished_tools
from ..model import Reply
from ..sounds import beep

GROUP = "16.4"
BOOKED = "Your train is booked."
BOOK = Reply(tool="book", arguments='{"item": "train"}')
ALL = {"tools": ["get_time", "book", "broken", "forever", "no_result"]}


def _expect_finished(trial: Trial) -> None:
    left = unfinished_tools(trial.context)
    trial.expect(left == 0, f"{left} tool calls stay IN_PROGRESS in the context")


async def _misses_deadline(trial: Trial, tool: str) -> None:
    """The tool gives no result: the model is told so, and answers."""
    trial.play(Reply(tool=tool), Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.reply(4.0)
        trial.expect(await call.until(lambda: len(trial.requests) > 1, 5.0), "the model is not told of the deadline")
        await call.quiet(1.0)


async def _recovers(trial: Trial, *replies: Reply, within_s: float = 5.0) -> None:
    """The caller asks, hears something, and asks again: nothing may be left running."""
    trial.play(*replies, Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.reply(within_s)
        await call.say(beep(), ANSWER)
        await call.reply()
    _expect_finished(trial)


def _case(name: str, row: str, group: str, *replies: Reply) -> None:
    @case(row, group, "something is said, nothing stays IN_PROGRESS", name=name, agent=ALL)
    async def run(trial: Trial) -> None:
        await _recovers(trial, *replies)


_case("tool_answers", "17", GROUP, Reply(tool="get_time"), Reply("It is noon."))
_case("tool_malformed", "17", GROUP, Reply(tool="get_time", arguments='{"a": '))
_case("tool_unknown", "17", GROUP, Reply(tool="send_rocket"), Reply("I cannot do that."))
_case("tool_wrong_arguments", "17", GROUP, Reply(tool="get_time", arguments='{"zone": "CET"}'), Reply("It is noon."))
_case("tool_fails", "17", GROUP, Reply(tool="broken"), Reply("The database is down."))


@case("18", GROUP, "the model goes on with an error after the deadline", agent={**ALL, "tool_timeout_s": 3.0})
async def tool_without_result(trial: Trial) -> None:
    """A tool that returns and never calls back."""
    await _misses_deadline(trial, "no_result")
    _expect_finished(trial)


@case("18", GROUP, "the model goes on with an error after the deadline", agent={**ALL, "tool_timeout_s": 3.0})
async def tool_hangs(trial: Trial) -> None:
    """A tool that never returns."""
    await _misses_deadline(trial, "forever")


@case("14", GROUP, "no tool stays IN_PROGRESS", agent=ALL)
async def words_before_tool_interrupted(trial: Trial) -> None:
    """The caller breaks into what is said before a tool's result."""
    first = Reply(
        "Let me look that up for you right now in our very large system.", tool="book", arguments='{"item": "a"}'
    )
    trial.play(first, Reply(BOOKED), Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.speaks()
        await call.sleep(0.6)
        await call.say(beep(), "")
        await call.reply()
        await call.say(beep(), "")
        await call.reply()
    _expect_finished(trial)


@case("15", "24.2", "the booking goes on, is made once and is known", agent=ALL, limit_s=25.0)
async def tool_interrupted(trial: Trial) -> None:
    """The caller adds a sentence while a tool with side effects works."""
    trial.play(BOOK, Reply(BOOKED), Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.sleep(1.0)
        await call.say(beep(), "")
        await call.reply()
        await call.say(beep(), "")
        await call.reply()
    results = " ".join(trial.remembered("tool"))
    trial.expect("AB12" in results, f"the booking is not known: {results[:80]!r}")


@case("16", GROUP, "a tool of a withdrawn answer runs once", agent={**ALL, "llm_calls_per_turn": 2.0})
async def tool_of_withdrawn_answer(trial: Trial) -> None:
    """The caller goes on after the answer was begun in a pause."""
    trial.script(lambda _, messages: Reply("It is noon.") if messages[-1]["role"] == "tool" else Reply(tool="get_time"))
    async with trial.call() as call:
        await call.say(beep(), None)
        await call.sleep(0.14)
        await call.say(beep(), "")
        await call.reply()
        turns = await call.until_turns()
    ran = sum(turn["tools"].count("get_time") for turn in turns)
    trial.expect(ran <= len(turns), f"the tool ran {ran} times in {len(turns)} turns")


@case("18", GROUP, "a bounded number of rounds, then words", agent={**ALL, "max_tool_rounds": 3}, alone=True)
async def tool_again_and_again(trial: Trial) -> None:
    """A model that calls a tool after every result."""
    trial.script(lambda _, messages: Reply(tool="get_time"))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.reply()
        await call.sleep(4.0)
    trial.expect(len(trial.requests) <= 6, f"{len(trial.requests)} rounds of tools")
