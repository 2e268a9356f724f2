"""Limits of a call: how they are reported, and the deadline of a tool call."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from pipecat.adapters.llm.schemas.direct_function import DirectFunctionWrapper
from pipecat.frames.frames import FunctionCallResultProperties
from pipecat.services.llm_service import FunctionCallParams
from web import web

from antiphon_orchestrator.limits import LIMITS, Limit, LimitReports, with_deadline
from antiphon_orchestrator.tools import TOOLS

OVERDUE = {"error": "no result within 0.05 s"}


class Call:
    """Outcome of tool calls: their results, and the limits that were reached."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.reached: list[Limit] = []

    async def _result(self, result: Any, *, properties: FunctionCallResultProperties | None = None) -> None:
        self.results.append(result)

    async def of(self, tool: Callable[..., Any], within_s: float = 0.05, **arguments: Any) -> None:
        params = FunctionCallParams(
            function_name="brew",
            tool_call_id="1",
            arguments=arguments,
            llm=SimpleNamespace(),  # type: ignore[arg-type]
            pipeline_worker=SimpleNamespace(),  # type: ignore[arg-type]
            context=SimpleNamespace(),  # type: ignore[arg-type]
            result_callback=self._result,
        )
        limited = with_deadline(tool, within_s, lambda limit, _: self.reached.append(limit))
        await limited(params, **arguments)


async def answers(params: FunctionCallParams, kind: str) -> None:
    await params.result_callback(kind)


async def returns(params: FunctionCallParams) -> None:
    """Without a result."""


async def hangs(params: FunctionCallParams) -> None:
    await asyncio.Event().wait()


async def answers_while_it_is_cancelled(params: FunctionCallParams) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await params.result_callback("too late")


async def goes_on_when_cancelled(params: FunctionCallParams) -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.sleep(0.1)
    await params.result_callback("too late")


async def answers_twice(params: FunctionCallParams) -> None:
    await params.result_callback("tea")
    await params.result_callback("coffee")


async def answers_and_goes_on(params: FunctionCallParams) -> None:
    await params.result_callback("tea")
    await asyncio.sleep(0.15)
    params.arguments["washed"] = True  # type: ignore[index]


async def tells_how_far_it_is(params: FunctionCallParams) -> None:
    for _ in range(20):
        await params.result_callback("boiling", properties=FunctionCallResultProperties(is_final=False))
        await asyncio.sleep(0.01)


async def times_out_by_itself(params: FunctionCallParams) -> None:
    raise TimeoutError("the kettle")


async def cancels_itself(params: FunctionCallParams) -> None:
    raise asyncio.CancelledError


async def test_a_result_in_time_is_the_result() -> None:
    call = Call()
    await call.of(answers, kind="green")
    assert (call.results, call.reached) == (["green"], [])


@pytest.mark.parametrize("tool", [returns, hangs, answers_while_it_is_cancelled, goes_on_when_cancelled])
async def test_a_tool_without_a_result_gets_an_error_for_one_and_a_late_result_is_ignored(
    tool: Callable[[FunctionCallParams], Awaitable[None]],
) -> None:
    call = Call()
    async with asyncio.timeout(5):
        await call.of(tool)
    assert (call.results, call.reached) == ([OVERDUE], ["tool_timeout"])


async def test_a_tool_that_answers_later_by_a_task_of_its_own_is_waited_for() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def later(params: FunctionCallParams) -> None:
        async def bring() -> None:
            await asyncio.sleep(0.02)
            await params.result_callback("tea")

        tasks.append(asyncio.create_task(bring()))

    call = Call()
    await call.of(later, within_s=10)
    assert (call.results, call.reached) == (["tea"], [])


async def test_the_first_result_counts_and_the_work_after_it_is_not_cut_off() -> None:
    call, arguments = Call(), {"washed": False}
    await call.of(answers_twice)
    assert call.results == ["tea"]

    async def tidy(params: FunctionCallParams, washed: bool) -> None:
        await answers_and_goes_on(params)
        arguments.update(params.arguments)

    await call.of(tidy, within_s=10, washed=False)
    assert arguments["washed"] and not call.reached


@pytest.mark.parametrize("after", [hangs, goes_on_when_cancelled])
async def test_a_tool_that_has_answered_has_the_rest_of_its_time_and_no_more(
    after: Callable[[FunctionCallParams], Awaitable[None]],
) -> None:
    async def brew(params: FunctionCallParams) -> None:
        await params.result_callback("tea")
        await after(params)

    call = Call()
    async with asyncio.timeout(5):
        await call.of(brew)
    assert (call.results, call.reached) == (["tea"], [])


async def test_news_of_a_tool_does_not_put_its_deadline_off() -> None:
    call = Call()
    await call.of(tells_how_far_it_is)
    assert call.results[-1] == OVERDUE and set(call.results[:-1]) == {"boiling"}


async def test_an_error_of_the_tools_own_stays_one() -> None:
    with pytest.raises(TimeoutError, match="the kettle"):
        await Call().of(times_out_by_itself)
    with pytest.raises(RuntimeError, match="brew was cancelled from within"):
        await Call().of(cancels_itself)


async def test_a_cancelled_call_cancels_its_tool() -> None:
    ended = asyncio.Event()

    async def brew(params: FunctionCallParams) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    call = Call()
    running = asyncio.create_task(call.of(brew, within_s=60))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set() and not call.results


@pytest.mark.parametrize("name", TOOLS)
def test_the_model_reads_the_same_of_a_tool_with_a_deadline(name: str) -> None:
    limited = with_deadline(TOOLS[name], 10, lambda *_: None)
    assert inspect.iscoroutinefunction(limited)
    ours, its = (DirectFunctionWrapper(tool).to_function_schema() for tool in (limited, TOOLS[name]))
    assert ours.to_default_dict() == its.to_default_dict()


def test_a_limit_that_cannot_be_counted_is_nobodys_trouble(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_limit: Limit) -> None:
        raise RuntimeError("the registry")

    LimitReports("call-1", broken)("offer", "no offer within 30 s")
    assert "session call-1: limit offer: no offer within 30 s" in caplog.text


async def test_every_limit_is_counted_from_the_start() -> None:
    async with web() as at:
        assert [at.registry.get_sample_value("antiphon_limits_reached_total", {"limit": one}) for one in LIMITS] == (
            [0.0] * len(LIMITS)
        )
        async with at.sessions.admitted("") as session:
            session.limit_reached("call_length", "over")
        assert at.sample("antiphon_limits_reached_total", limit="call_length") == 1
