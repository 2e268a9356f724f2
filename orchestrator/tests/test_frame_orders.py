"""The account of turns and the watch over answers, over frames in any order."""

import random

import pytest
from own_bot import NOWHERE
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EagerEndOfTurnCancelFrame,
    ErrorFrame,
    Frame,
    FunctionCallCancelFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from told import Told, broke, called, final, paused, remembered, result, running, sound, tiles, verdict

from antiphon_orchestrator.manners.answer_watch import AnswerWatch
from antiphon_orchestrator.observer import TimelineObserver
from antiphon_orchestrator.services import AntiphonLLMService, AntiphonTTSService
from antiphon_orchestrator.services.frames import (
    AgentSilencedFrame,
    AnswerOverdueFrame,
    AnswerOwedFrame,
    CommitTurnFrame,
    EmptyUtteranceFrame,
    LateAudioFrame,
    OverlapEndedFrame,
)
from antiphon_orchestrator.services.speculation import mark_speculative
from antiphon_orchestrator.timeline import OUTCOMES, Turn
from antiphon_orchestrator.usual import Usual
from antiphon_runtime.client import Replicas

SESSIONS = 400
FRAMES = 80


def speculative() -> LLMFullResponseStartFrame:
    frame = LLMFullResponseStartFrame()
    mark_speculative(frame, LLMContextFrame(LLMContext()))
    return frame


class Orders:
    """Draws frames as any combination of services and callers might send them, at times that only grow."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ms = 1000.0
        self.model = AntiphonLLMService(replicas=Replicas([NOWHERE], lambda channel: channel))
        self.voice = AntiphonTTSService(replicas=Replicas([NOWHERE], lambda channel: channel))

    def frame(self) -> Frame:
        draw, now = self.random, self.now_ms
        end = now - draw.choice([0, 100, 300])
        silence = draw.choice([0.0, 200.0, 1300.0])
        return draw.choice(
            (
                lambda: VADUserStartedSpeakingFrame(start_secs=0.06),
                lambda: VADUserStoppedSpeakingFrame(stop_secs=0.2),
                lambda: paused(end),
                lambda: verdict(end),
                lambda: CommitTurnFrame(sample=round(end * 16), reason="verdict", silence_ms=silence),
                lambda: final(draw.choice(["Yes.", "What is the time?"])),
                lambda: EmptyUtteranceFrame(error=draw.choice(["", "asr: no text within 4 s"])),
                UserStartedSpeakingFrame,
                UserStoppedSpeakingFrame,
                lambda: AnswerOwedFrame(error=draw.choice(["", "", "asr: gone"])),
                InterruptionFrame,
                lambda: OverlapEndedFrame(text=""),
                LateAudioFrame,
                lambda: AgentSilencedFrame(after_ms=100),
                lambda: AnswerOverdueFrame(reason="no answer within 12 s"),
                EagerEndOfTurnCancelFrame,
                LLMFullResponseStartFrame,
                speculative,
                lambda: LLMTextFrame(draw.choice(["Hi.", " "])),
                LLMFullResponseEndFrame,
                lambda: called("brew"),
                lambda: running("brew"),
                lambda: result("brew"),
                lambda: FunctionCallCancelFrame(function_name="brew", tool_call_id="1"),
                lambda: sound(80),
                BotStartedSpeakingFrame,
                BotStoppedSpeakingFrame,
                lambda: remembered("Hi."),
                lambda: broke(draw.choice([self.model, self.voice])),
            )
        )()

    def passes(self) -> None:
        self.now_ms += self.random.choice([0, 1, 20, 100, 600, 2000])


def sound_account(turn: Turn) -> None:
    """Fails unless the turn's figures belong together."""
    assert turn.outcome in OUTCOMES
    assert turn.v2v_ms is None or (turn.v2v_ms >= 0 and tiles(turn))
    assert turn.v2v_ms is None or not turn.stalled
    assert turn.outcome != "answered" or turn.first_audio_ns is not None
    assert turn.outcome != "stalled" or turn.v2v_ms is None
    assert all(span.end_ns >= span.start_ns for span in (*turn.stages, *turn.spans))


async def test_no_order_of_frames_breaks_the_account() -> None:
    usual, turns = Usual(), 0
    for seed in range(SESSIONS):
        orders, told = Orders(seed), Told()
        faults: list[str] = []
        told.observer._containment._count = faults.append
        for _ in range(FRAMES):
            await told.at(orders.now_ms, orders.frame())
            orders.passes()
        await told.observer.finish()
        assert not faults, f"seed {seed}"
        numbers = [turn.turn_id for turn in told.turns]
        assert len(numbers) == len(set(numbers)), f"seed {seed}"
        for turn in told.turns:
            sound_account(turn)
            usual.explain(turn)
            assert turn.why
            turn.to_json()
        turns += len(told.turns)
    assert turns > SESSIONS / 2


async def test_words_that_come_late_onto_an_answered_turn_are_a_turn_of_their_own(told: Told) -> None:
    await told.asks(0, 1000)
    await told.answers(1300)
    # Speech over the answer is taken for none, and its words come all the same.
    await told.at(2700, VADUserStartedSpeakingFrame(start_secs=0.06))
    await told.at(3100, paused(3000))
    await told.at(3500, OverlapEndedFrame(text=""))
    await told.at(3600, CommitTurnFrame(sample=48_000, reason="verdict", silence_ms=600))
    await told.at(3650, UserStartedSpeakingFrame(), final("Wait."), UserStoppedSpeakingFrame())
    await told.answers(3700)
    await told.observer.finish()
    first, second = told.turns
    assert first.outcome == "answered" and first.heard == "Hello."
    assert second.outcome == "answered" and second.heard == "Wait." and tiles(second)
    assert second.v2v_ms == pytest.approx(1000)


async def test_a_turn_whose_audio_stalled_has_an_outcome_of_its_own_and_no_latency(told: Told) -> None:
    await told.speaks(0, 1000)
    await told.at(2000, LateAudioFrame())
    await told.at(2010, CommitTurnFrame(sample=16_000, reason="verdict", silence_ms=200))
    await told.at(2050, final("Hello."), UserStoppedSpeakingFrame())
    await told.answers(2060)
    (turn,) = told.turns
    assert turn.outcome == "stalled" and turn.v2v_ms is None and "stalled" in turn.to_json()["outcome"]


async def test_a_latency_is_never_below_the_silence_that_the_policy_waited_for(told: Told) -> None:
    # All of the pause came in one burst: its last speech arrived 20 ms ago, and was spoken 200 ms before.
    await told.speaks(0, 1000)
    await told.at(1020, CommitTurnFrame(sample=16_000, reason="verdict", silence_ms=200))
    await told.at(1030, final("Hello."), UserStoppedSpeakingFrame(), LLMFullResponseStartFrame(), LLMTextFrame("Hi."))
    await told.at(1040, sound(1), BotStartedSpeakingFrame())
    await told.at(2000, LLMFullResponseEndFrame(), remembered("Hi."), BotStoppedSpeakingFrame())
    (turn,) = told.turns
    assert turn.outcome == "answered" and turn.v2v_ms == pytest.approx(220) and tiles(turn)


@pytest.mark.parametrize(("cut_off", "outcome"), [(True, "hung_up"), (False, "interrupted")])
async def test_a_caller_who_hangs_up_in_mid_answer_was_not_answered(cut_off: bool, outcome: str) -> None:
    told = Told()
    told.observer = TimelineObserver(told, was_cut_off=lambda: cut_off)
    await told.asks(0, 1000)
    await told.at(1300, LLMFullResponseStartFrame(), LLMTextFrame("Hi."), sound(1), BotStartedSpeakingFrame())
    await told.observer.finish()
    assert told.turns[0].outcome == outcome


def test_no_order_of_frames_breaks_the_watch_over_answers() -> None:
    for seed in range(SESSIONS):
        orders, watch = Orders(seed), AnswerWatch()
        for _ in range(FRAMES):
            frame, owed = orders.frame(), watch.owed
            ended = watch.failed(frame) if isinstance(frame, ErrorFrame) else watch.note(frame)
            # An answer ends once, and only one that is owed.
            assert ended is None or (not watch.owed and (owed or isinstance(frame, AnswerOwedFrame))), f"seed {seed}"


@pytest.fixture
def told() -> Told:
    return Told()
