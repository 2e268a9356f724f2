"""Sounds and words while the agent speaks or thinks."""

import asyncio

from ...wav import Samples
from ..call import MERGE_S
from ..case import ANSWER, LONG, Stack, Trial, case
from ..model import Reply
from ..sounds import beep, cough, joined, silence, whispered

GROUP = "19.1"
GREETING = (
    "Hello, this is Ava from the travel agency. I can book trains and flights for you, change a booking, or tell you "
    "about the weather where you go. How can I help you today?"
)
ASK = (
    "Would you like me to book it for you? It costs twenty dollars, and the train leaves at nine in the morning from "
    "platform four, which is right behind the main hall."
)
SHORT = "It is Rome."
SILENT_WITHIN_S = 0.4


async def _over_answer(trial: Trial, sound: Samples) -> None:
    trial.play(Reply(LONG), Reply(SHORT))
    async with trial.call() as call:
        await call.say(trial.voice.question(), LONG)
        await call.speaks()
        await call.sleep(2.0)
        await call.say(sound, least_s=0.6)
        await call.reply(4.5, length_s=14.0)


async def _whispered() -> Samples:
    # In a thread: the caller's clock must not wait for it.
    return await asyncio.to_thread(whispered, "train")


@case("7", GROUP, "the answer goes on, or something is said within 3 s", stack=Stack.REAL, plain=True)
async def whisper_over_answer(trial: Trial) -> None:
    """Somebody whispers while the agent answers."""
    await _over_answer(trial, await _whispered())


@case(
    "7", GROUP, "the greeting goes on, or something is said within 3 s", stack=Stack.REAL, agent={"greeting": GREETING}
)
async def whisper_over_greeting(trial: Trial) -> None:
    """Somebody whispers while the agent greets."""
    sound = await _whispered()
    async with trial.call() as call:
        await call.speaks(6.0)
        await call.sleep(2.0)
        await call.say(sound, least_s=0.6)
        await call.reply(4.5, length_s=14.0)


@case("6", GROUP, "the answer still comes", stack=Stack.REAL, plain=True)
async def whisper_while_thinking(trial: Trial) -> None:
    """Somebody whispers while a model of 3 s thinks."""
    trial.play(Reply(ANSWER, wait_s=3.0))
    sound = await _whispered()
    async with trial.call() as call:
        await call.say(trial.voice.question(), None)
        await call.sleep(1.2)
        await call.say(sound, ANSWER)
        await call.reply(6.0)


@case("7", GROUP, "the answer goes on, or something is said within 3 s", stack=Stack.REAL)
async def cough_over_answer(trial: Trial) -> None:
    """The caller coughs while the agent answers."""
    await _over_answer(trial, cough())


@case("8", GROUP, "the answer goes on, or something is said within 3 s", stack=Stack.REAL)
async def uh_huh_over_answer(trial: Trial) -> None:
    """A sign of listening that the recognizer finds no words in."""
    await _over_answer(trial, await trial.voice.words("Uh-huh."))


@case("8", GROUP, "the answer goes on and is not replaced", stack=Stack.REAL)
async def mm_hmm_over_answer(trial: Trial) -> None:
    """A sign of listening that the recognizer takes for a word."""
    await _over_answer(trial, await trial.voice.words("Mm-hmm."))
    trial.expect_calls(1)


@case("8", GROUP, "the answer goes on, or something is said within 3 s", stack=Stack.REAL)
async def yeah_okay_over_answer(trial: Trial) -> None:
    """A sign of listening in words."""
    await _over_answer(trial, await trial.voice.words("Yeah, okay."))


@case("11", GROUP, "a sign of life within 3 s, and the answer is not thrown away", stack=Stack.REAL)
async def hello_while_thinking(trial: Trial) -> None:
    """The caller asks whether anybody is there while a model of 4 s thinks."""
    trial.play(Reply(ANSWER, wait_s=4.0))
    async with trial.call() as call:
        await call.say(trial.voice.question(), None)
        hello = await trial.voice.words("Hello?")
        for _ in range(3):
            await call.sleep(2.2)
            await call.say(hello, ANSWER)
        await call.reply(6.0)
    cancelled = sum(request.ended == "cancelled" for request in trial.requests)
    trial.expect(cancelled < 2, f"{cancelled} answers were thrown away")


async def _answered_question(trial: Trial, word: str) -> None:
    trial.play(Reply(ASK), Reply("Okay, it is booked."))
    async with trial.call() as call:
        await call.say(trial.voice.question(), None)
        await call.speaks()
        await call.sleep(2.3)
        await call.say(await trial.voice.words(word), "")
        await call.quiet(1.2, 14.0)
        await call.say(trial.voice.question(2), "")
        await call.reply()
    words = " ".join(trial.remembered("user")[1:]).lower()
    trial.expect(word.partition(",")[0].strip(".").lower() in words, f"{word!r} never reached the model: {words!r}")


@case("9", GROUP, "the answer to a question reaches the model", stack=Stack.REAL, limit_s=30.0)
async def yes_to_question(trial: Trial) -> None:
    """A bare yes while the agent explains what it has just asked."""
    await _answered_question(trial, "Yes.")


@case("9", GROUP, "the answer to a question reaches the model", stack=Stack.REAL, limit_s=30.0)
async def yes_please_to_question(trial: Trial) -> None:
    """Two words while the agent explains what it has just asked."""
    await _answered_question(trial, "Yes, please.")


@case("28", GROUP, "the next question is answered")
async def next_question_after_barge_in(trial: Trial) -> None:
    """The caller breaks in, and later asks something else."""
    trial.play(Reply(LONG), Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.speaks()
        await call.sleep(1.0)
        await call.say(beep(), ANSWER)
        await call.reply()
        await call.say(beep(), ANSWER)
        await call.reply()


@case("28", "16.2", "the agent is silent within 400 ms", plain=False)
async def barge_in_silences(trial: Trial) -> None:
    """Words over the answer stop it at once."""
    trial.play(Reply(LONG), Reply(SHORT, wait_s=1.5))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.speaks()
        await call.sleep(1.5)
        began_s = call.now
        await call.say(beep(1.2), "")
        over = [span for span in call.spans if span.start_s < began_s <= span.end_s + MERGE_S]
        await call.reply()
    trial.expect(over, "the agent did not speak when the caller broke in")
    for span in over:
        spoke_s = span.end_s - began_s
        trial.expect(spoke_s <= SILENT_WITHIN_S + call.late_s, f"the agent spoke on for {spoke_s:.2f} s")


@case("25", "19.4", "both halves are in the context, in order")
async def pause_within_sentence(trial: Trial) -> None:
    """A pause in the middle of a sentence, longer than the turn policy waits."""
    trial.play(Reply(ANSWER, wait_s=0.5))
    async with trial.call() as call:
        await call.say(joined(beep(), silence(0.8), beep()), ANSWER)
        await call.reply()
    said = " ".join(trial.remembered("user"))
    trial.expect("first" in said and ("second" in said or len(trial.requests) == 1), f"the model has {said!r}")


@case("26", GROUP, "the greeting is before what interrupted it", agent={"greeting": GREETING})
async def interrupted_greeting_comes_first(trial: Trial) -> None:
    """The caller breaks into the greeting."""
    async with trial.call() as call:
        await call.speaks(6.0)
        await call.sleep(1.5)
        await call.say(beep(), ANSWER)
        await call.reply()
    roles = [message["role"] for message in trial.context if message["role"] != "system"]
    trial.expect(roles[:2] == ["assistant", "user"], f"the context begins with {roles[:3]}")


@case("27", GROUP, "what is remembered is what was heard")
async def heard_words_are_remembered(trial: Trial) -> None:
    """The caller breaks into an answer whose words are tones of known length."""
    words = "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec"
    trial.play(Reply(words), Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.speaks()
        began_s = call.spans[-1].start_s
        await call.sleep(2.0)
        await call.say(beep(), ANSWER)
        heard_s = next(span.end_s for span in call.spans if span.start_s == began_s) - began_s
        await call.reply()
    remembered = (trial.remembered("assistant") or [""])[0].split()
    least_s, most_s = trial.voice.least_s(" ".join(remembered[:-2])), trial.voice.least_s(" ".join(remembered)) / 0.9
    late_s = call.late_s + 0.3
    trial.expect(
        least_s - late_s <= heard_s <= most_s + 0.3 + late_s, f"{len(remembered)} words for {heard_s:.2f} s of sound"
    )


@case("30", "16.4", "no prompt while the agent speaks", agent={"idle_after_s": 2.0}, limit_s=25.0)
async def no_prompt_in_long_answer(trial: Trial) -> None:
    """An answer longer than the caller may be idle."""
    trial.play(Reply(LONG))
    async with trial.call() as call:
        await call.say(beep(), LONG)
        await call.speaks()
        await call.quiet(0.9, 16.0)
    # Two prompts and the goodbye would have come by now.
    trial.expect(call.closed_s is None, "the agent hangs up within its own answer")


@case("29", "16.4", "the prompt still comes", stack=Stack.REAL, agent={"greeting": "Hello.", "idle_after_s": 3.0})
async def prompt_after_wordless_sound(trial: Trial) -> None:
    """A whisper without words, then nothing."""
    sound = await _whispered()
    async with trial.call() as call:
        await call.speaks(6.0)
        await call.quiet()
        await call.say(sound, None)
        trial.expect(await call.speaks(7.0), "no prompt after a sound without words")


@case("51", "16.3", "the late word is answered and its turn accounted", private=True)
async def late_word_on_answered_turn(trial: Trial) -> None:
    """A short word over the answer whose text comes after the overlap was dismissed; then a question."""
    trial.play(Reply(LONG), Reply(ANSWER))
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.speaks()
        await call.sleep(1.5)
        trial.place.proxies["asr"].hesitate()
        await call.say(beep(0.15), None)
        await call.sleep(1.0)
        trial.place.proxies["asr"].go_on()
        await call.quiet(1.2, 12.0)
        before = len(await call.turns())
        await call.say(beep(), ANSWER)
        await call.reply()
        turns = await call.until_turns(before + 1)
    trial.expect(len(turns) > before, f"the turn after the late word is not accounted: {len(turns)} turns")
    trial.expect(turns and turns[-1]["outcome"] == "answered", "the turn after the late word is not answered")
    heard = [turn["heard"] for turn in turns]
    trial.expect(heard[:1] == ["the first question"], f"the late word is put to an answered turn: {heard}")


@case(
    "51",
    "16.3",
    "the next question is answered, and a failing one is apologized for",
    environment={"TROUBLE_RAISING": "usual.Usual.explain ledger.Ledger.closed"},
)
async def account_raises(trial: Trial) -> None:
    """The explanation and the account of turns raise at each of them."""
    trial.script(lambda number, _: Reply(ANSWER) if number == 0 else Reply("no", status=500))
    async with trial.call() as call:
        await call.say(beep(), ANSWER)
        await call.reply()
        await call.sleep(0.5)
        await call.say(beep(), "")
        await call.reply()
