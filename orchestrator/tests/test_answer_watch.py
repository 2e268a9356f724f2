"""The end of an answer that a caller is owed."""

from typing import Any

import pytest
from own_bot import NOWHERE
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EagerEndOfTurnCancelFrame,
    ErrorFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.utils.errors import ErrorCategory
from told import broke, called, result, sound

from antiphon_orchestrator.manners.answer_watch import Answer, AnswerWatch
from antiphon_orchestrator.services import AntiphonLLMService, AntiphonSTTService, AntiphonTTSService
from antiphon_orchestrator.services.frames import AnswerOwedFrame
from antiphon_orchestrator.services.speculation import mark_as_own, mark_speculative
from antiphon_runtime.client import Replicas

BEGIN, END = LLMFullResponseStartFrame, LLMFullResponseEndFrame
HEARD, QUIET = BotStartedSpeakingFrame, BotStoppedSpeakingFrame


def service(kind: Any) -> Any:
    return kind(replicas=Replicas([NOWHERE], lambda channel: channel))


def filler() -> Any:
    frame = sound()
    mark_as_own(frame)
    return frame


def ends(*frames: Any) -> list[Answer]:
    """Return the outcomes of answers while these frames passed."""
    watch = AnswerWatch()
    found = [watch.failed(frame) if isinstance(frame, ErrorFrame) else watch.note(frame) for frame in frames]
    return [end for end in found if end]


def test_an_answer_that_is_heard_to_its_end_is_given() -> None:
    assert ends(AnswerOwedFrame(), BEGIN(), sound(), HEARD(), END(), QUIET()) == [Answer.GIVEN]
    assert ends(AnswerOwedFrame(), BEGIN(), sound(), HEARD(), QUIET(), HEARD(), END(), QUIET()) == [Answer.GIVEN]


def test_an_answer_begun_before_the_turn_was_over_counts() -> None:
    begun = BEGIN()
    mark_speculative(begun, LLMContextFrame(LLMContext()))
    assert ends(begun, sound(), END(), UserStoppedSpeakingFrame(), AnswerOwedFrame(), HEARD(), QUIET()) == [
        Answer.GIVEN
    ]


def test_a_model_that_says_nothing_leaves_the_caller_waiting() -> None:
    assert ends(AnswerOwedFrame(), BEGIN(), END()) == [Answer.MISSED]


def test_a_turn_whose_text_could_not_be_had_is_missed() -> None:
    assert ends(AnswerOwedFrame(error="asr: no text within 4 s")) == [Answer.MISSED]


@pytest.mark.parametrize("kind", [AntiphonLLMService, AntiphonTTSService])
def test_a_service_that_breaks_ends_the_answer_once(kind: Any) -> None:
    assert ends(AnswerOwedFrame(), BEGIN(), broke(service(kind)), END()) == [Answer.MISSED]
    assert ends(broke(service(kind)), AnswerOwedFrame(), BEGIN(), sound(), HEARD(), END(), QUIET()) == [Answer.GIVEN]


def test_an_answer_that_breaks_off_is_missed_when_the_rest_has_been_heard() -> None:
    frames = AnswerOwedFrame(), BEGIN(), sound(), HEARD(), broke(service(AntiphonTTSService)), END(), QUIET()
    assert ends(*frames[:-1]) == []
    assert ends(*frames) == [Answer.MISSED]


def test_an_answer_that_broke_before_its_turn_was_over_is_no_answer() -> None:
    begun = BEGIN()
    mark_speculative(begun, LLMContextFrame(LLMContext()))
    over = UserStoppedSpeakingFrame(), AnswerOwedFrame()
    assert ends(begun, sound(), broke(service(AntiphonTTSService)), END(), *over, HEARD(), QUIET()) == [Answer.MISSED]


def test_errors_of_listening_services_and_of_tools_end_nothing() -> None:
    tool = broke(service(AntiphonLLMService), category=ErrorCategory.APPLICATION)
    assert ends(AnswerOwedFrame(), broke(service(AntiphonSTTService)), tool, BEGIN()) == []


def test_a_tool_is_waited_for_and_its_filler_is_no_answer() -> None:
    # The announcement of tool calls overtakes the beginning of the response.
    asked = AnswerOwedFrame(), called("brew"), BEGIN(), END(), filler(), HEARD(), QUIET()
    assert ends(*asked) == []
    assert ends(*asked, result("brew")) == []
    assert ends(*asked, result("brew"), BEGIN(), sound(), END(), HEARD(), QUIET()) == [Answer.GIVEN]
    assert ends(*asked, result("brew"), BEGIN(), END()) == [Answer.MISSED]


def test_an_interruption_withdraws_the_debt() -> None:
    assert ends(AnswerOwedFrame(), BEGIN(), sound(), HEARD(), InterruptionFrame(), QUIET(), END()) == []


def test_a_withdrawn_answer_is_none() -> None:
    begun = BEGIN()
    mark_speculative(begun, LLMContextFrame(LLMContext()))
    assert ends(begun, END(), EagerEndOfTurnCancelFrame(), AnswerOwedFrame()) == []


def test_an_answer_is_overdue_only_while_it_is_owed() -> None:
    watch = AnswerWatch()
    assert watch.overdue() is None
    watch.note(AnswerOwedFrame())
    assert watch.overdue() is Answer.MISSED and watch.overdue() is None
