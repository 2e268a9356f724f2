"""AntiphonLLMService alone in a bot of one's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from own_bot import IMPATIENT, NOWHERE, Bot, bot, dialled, settles, stub
from pipecat.frames.frames import (
    ErrorFrame,
    InterruptionFrame,
    LLMContextAssistantTurnFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMMessagesAppendFrame,
    LLMTextFrame,
    MetricsFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.llm_service import FunctionCallParams
from pipecat.utils.errors import ErrorCategory

from antiphon.llm.v1 import llm_pb2 as pb
from antiphon_orchestrator.pipeline import remembering
from antiphon_orchestrator.services import AntiphonLLMService
from antiphon_runtime.testing import Served


@asynccontextmanager
async def thinking(target: str, **options: Any) -> AsyncIterator[tuple[Bot, AntiphonLLMService]]:
    async with dialled("llm", target, policy=IMPATIENT) as replicas:
        service = AntiphonLLMService(replicas=replicas, **options)
        async with bot(service) as at:
            yield at, service


def asked(*texts: str) -> LLMContextFrame:
    return LLMContextFrame(LLMContext([{"role": "user", "content": text} for text in texts]))


def text(at: Bot) -> str:
    return "".join(frame.text for frame in at.down.of(LLMTextFrame))


def used(served: Served) -> float:
    return served.sample("antiphon_llm_slots_used")


def ended(served: Served, outcome: str) -> float:
    """Streams that ended like this."""
    return served.sample("antiphon_rpc_seconds_count", method="Generate", outcome=outcome)


async def test_a_context_is_answered_word_by_word() -> None:
    async with stub("llm") as served, thinking(served.target) as (at, _):
        await at.send(asked("Hello there."))
        await at.down.until(LLMFullResponseEndFrame)
        assert [frame.text for frame in at.down.of(LLMTextFrame)] == ["I ", "heard: ", "Hello ", "there."]
        assert len(at.down.of(LLMFullResponseStartFrame)) == 1
        await settles(lambda: used(served) == 0 and ended(served, "ok") == 1)
        assert at.up.of(ErrorFrame) == []


async def test_the_first_word_and_the_tokens_are_measured() -> None:
    async with stub("llm") as served, thinking(served.target) as (at, service):
        await at.send(asked("Hello there."))
        await at.down.until(LLMFullResponseEndFrame)
        measured = [data for frame in at.down.of(MetricsFrame) for data in frame.data]
        assert [data.processor for data in measured if isinstance(data, TTFBMetricsData)] == [service.name]


async def test_the_system_prompt_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__N_CTX", "4")
    async with stub("llm") as served:
        async with thinking(served.target) as (at, _):
            await at.send(asked("Hello there."))
            await at.down.until(LLMFullResponseEndFrame)
            assert text(at) == "I heard: Hello there."
        async with thinking(served.target, system_prompt="Be very brief.") as (at, _):
            await at.send(asked("Hello there."))  # five words with the prompt, of which the model takes four
            assert "5 tokens" in (await at.up.until(ErrorFrame)).error


async def test_an_answer_is_no_longer_than_asked_for() -> None:
    async with stub("llm") as served, thinking(served.target, max_token_count=2) as (at, _):
        await at.send(asked("Hello there."))
        await at.down.until(LLMFullResponseEndFrame)
        assert text(at) == "I heard: "


async def test_a_tool_is_called_with_its_arguments_and_its_result_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", 'tool:brew {"kind": "green"}|Your tea is ready.')
    brewed: list[tuple[str, str]] = []

    async def brew(params: FunctionCallParams, kind: str) -> None:
        """Make tea.

        Args:
            kind: Which tea.
        """
        brewed.append((kind, params.app_resources))
        await params.result_callback({"done": True})

    context = LLMContext([], tools=[brew])  # type: ignore[arg-type]
    memory = LLMContextAggregatorPair(context)
    async with stub("llm") as served, dialled("llm", served.target) as replicas:
        service = AntiphonLLMService(replicas=replicas, function_call_timeout_secs=5.0)
        async with bot(memory.user(), service, memory.assistant(), resources="the kettle") as at:
            await at.send(LLMMessagesAppendFrame([{"role": "user", "content": "Tea, please."}], run_llm=True))
            assert (await at.up.until(LLMContextAssistantTurnFrame)).text == "Your tea is ready."
    assert brewed == [("green", "the kettle")]
    roles = [message["role"] for message in context.get_messages()]
    assert roles == ["user", "assistant", "tool", "assistant"]
    assert context.get_messages()[1]["tool_calls"][0]["function"] == {
        "name": "brew",
        "arguments": '{"kind": "green"}',
    }


async def test_an_interruption_cancels_the_answer_and_frees_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__PROFILE", "dgx-spark")  # its first word takes a third of a second at least
    async with stub("llm", slots=1) as served, thinking(served.target) as (at, _):
        await at.send(asked("Hello there."))
        await settles(lambda: used(served) == 1)
        await at.send(InterruptionFrame())
        await settles(lambda: used(served) == 0 and ended(served, "cancelled") == 1)
        assert text(at) == ""
        await at.send(asked("Again."))
        await at.down.until(LLMTextFrame)
        assert at.up.of(ErrorFrame) == []


async def test_a_service_that_is_not_there_gives_an_error_and_the_answer_ends() -> None:
    async with thinking(NOWHERE) as (at, service):
        await at.send(asked("Hello there."))
        await at.down.until(LLMFullResponseEndFrame)
        (error,) = at.up.of(ErrorFrame)
        assert error.category is ErrorCategory.CONNECTIVITY and error.processor is service
        assert service.is_usable


async def test_without_a_free_slot_the_error_says_so_and_the_next_answer_comes() -> None:
    async with stub("llm", slots=1) as served, thinking(served.target) as (at, _):
        async with dialled("llm", served.target) as other:
            held = pb.GenerateConfig(messages_json='[{"role": "user", "content": "x"}]', await_grants=True)
            async with await other.open(pb.GenerateRequest(config=held)):
                await at.send(asked("Hello there."))
                await at.down.until(LLMFullResponseEndFrame)
                (error,) = at.up.of(ErrorFrame)
                assert error.category is ErrorCategory.RATE_LIMIT and "slots are taken" in error.error
        await settles(lambda: used(served) == 0)
        await at.send(asked("Hello there."))
        await at.down.until(LLMFullResponseEndFrame, 2)
        assert text(at) == "I heard: Hello there."


async def test_a_question_aside_is_answered_whole_and_not_said() -> None:
    async with stub("llm") as served, thinking(served.target) as (at, service):
        context = LLMContext([{"role": "user", "content": "Sum it up."}])
        assert await service.run_inference(context) == "I heard: Sum it up."
        assert await service.run_inference(context, max_tokens=2) == "I heard: "
        assert at.down.of(LLMTextFrame) == []
        await settles(lambda: used(served) == 0)


async def test_a_bot_that_ends_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__PROFILE", "dgx-spark")
    async with stub("llm") as served:
        async with thinking(served.target) as (at, _):
            await at.send(asked("Hello there."))
            await settles(lambda: used(served) == 1)
        await settles(lambda: used(served) == 0)


async def test_each_request_begins_with_the_one_before_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "ANTIPHON_LLM_STUB__SCRIPT", 'Hello you.|tool:brew {"kind": "green"}|Your tea is ready.|Bye “you” é.'
    )
    sent: list[pb.GenerateConfig] = []

    async def brew(params: FunctionCallParams, kind: str) -> None:
        """Make tea.

        Args:
            kind: Which tea.
        """
        await params.result_callback({"done": True})

    memory = LLMContextAggregatorPair(LLMContext([], tools=[brew]))  # type: ignore[arg-type]
    async with stub("llm") as served, dialled("llm", served.target) as replicas:
        opened = replicas.open

        async def spied(request: pb.GenerateRequest, **options: Any) -> Any:
            sent.append(request.config)
            return await opened(request, **options)

        monkeypatch.setattr(replicas, "open", spied)
        service = AntiphonLLMService(replicas=replicas, system_prompt="Be brief.", function_call_timeout_secs=5.0)
        async with bot(memory.user(), service, memory.assistant()) as at:
            for number, text in enumerate(("Hello.", "Tea, please.", "Thank you.")):
                await at.send(LLMMessagesAppendFrame([{"role": "user", "content": text}], run_llm=True))
                await at.up.until(LLMContextAssistantTurnFrame, number + 1)
        shared = served.sample("antiphon_llm_cached_share_sum")
    messages = [config.messages_json.removesuffix("]") for config in sent]
    assert len(messages) == 4  # the tool's result is a request of its own
    assert [now.startswith(before) for before, now in pairwise(messages)] == [True] * 3
    assert len({config.tools_json for config in sent}) == 1
    assert shared > 1  # all but the first find what was read before


async def test_a_long_conversation_is_summarized_while_an_answer_is_given_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stub answers every request alike, so the summary is what it says to the summary's own."""
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "All of that.")
    context = LLMContext()
    memory = LLMContextAggregatorPair(context, assistant_params=remembering(100))
    async with stub("llm", slots=4) as served, dialled("llm", served.target) as replicas:
        service = AntiphonLLMService(replicas=replicas)
        async with bot(memory.user(), service, memory.assistant()) as at:
            for number in range(1, 8):
                question = {"role": "user", "content": f"Question {number}: {'word ' * 12}"}
                await at.send(LLMMessagesAppendFrame([question], run_llm=True))
                await at.up.until(LLMContextAssistantTurnFrame, number)
                if len(context.get_messages()) < 2 * number:
                    break
            await settles(lambda: context.get_messages()[0]["content"].startswith("Conversation summary:"))
            await settles(lambda: used(served) == 0)
    first, *rest = context.get_messages()
    assert first["content"] == "Conversation summary: All of that."
    assert 4 <= len(rest) < 2 * number


def test_a_context_is_not_summarized_unless_that_is_asked_for() -> None:
    assert not remembering(0).enable_auto_context_summarization
    assert remembering(100).auto_context_summarization_config.summary_config.target_context_tokens == 25
