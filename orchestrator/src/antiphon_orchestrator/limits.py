"""Limits of a call, their names in metrics and logs, and the deadline of a tool call."""

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, get_args

from pipecat.frames.frames import FunctionCallResultProperties
from pipecat.services.llm_service import FunctionCallParams

log = logging.getLogger(__name__)

# call_length: `max_call_s`. silent_caller: hung up on after the prompts. offer: a WebRTC call that was started and not
# offered, or offered and not connected, within `offer_within_s`. started: more than 64 of them at once. tool_rounds:
# `max_tool_rounds`. tool_timeout: `tool_timeout_s`. tool_calls: more or larger tool calls in a response than are taken.
# answer_tokens: a response beyond `max_token_count`.
Limit = Literal[
    "call_length", "silent_caller", "offer", "started", "tool_rounds", "tool_timeout", "tool_calls", "answer_tokens"
]
LIMITS: tuple[Limit, ...] = get_args(Limit)
# Called with the limit that was reached and a sentence for the log.
OnLimit = Callable[[Limit, str], None]


class LimitReports:
    """Counts the limits that a call reaches and logs each with the call's id. Never raises."""

    def __init__(self, session_id: str, count: Callable[[Limit], None] | None = None) -> None:
        self._session_id = session_id
        self._count = count

    def __call__(self, limit: Limit, detail: str) -> None:
        fields = {"session_id": self._session_id, "limit": limit}
        log.warning("session %s: limit %s: %s", self._session_id, limit, detail, extra={"fields": fields})
        if self._count is None:
            return
        try:
            self._count(limit)
        except Exception:  # a fault in the accounts does not touch the call
            log.exception("session %s: limit %s could not be counted", self._session_id, limit)


Tool = Callable[..., Coroutine[Any, Any, None]]
# For a tool to notice that it has been cancelled.
CANCEL_S = 1.0


def with_deadline(tool: Tool, within_s: float, on_limit: OnLimit) -> Tool:
    """Wrap a Pipecat direct function so that each call of it has a result within `within_s`.

    A call without a result by then, whether the function still runs or has returned, gets
    `{"error": "no result within 10 s"}` as its result. The function is cancelled, and a result that it gives later is
    ignored. A function that goes on after its result has what is left of `within_s` for that, and is cancelled then.
    The wrapper has the function's name, signature and docstring.
    """

    @functools.wraps(tool)
    async def limited(params: FunctionCallParams, **arguments: Any) -> None:
        deadline_s = asyncio.get_running_loop().time() + within_s
        call = _ToolCall(params)
        running = asyncio.create_task(
            tool(replace(params, result_callback=call.answer), **arguments), name=f"tool {params.function_name}"
        )
        try:
            if await call.answered(running, within_s):
                await _finished(running, deadline_s)
            else:
                on_limit("tool_timeout", f"{params.function_name} gave no result within {within_s:g} s")
                await params.result_callback({"error": f"no result within {within_s:g} s"})
        except asyncio.CancelledError:
            if running.cancelled() and not call.has_result and not _is_cancelled():
                raise RuntimeError(f"{params.function_name} was cancelled from within") from None
            raise
        finally:
            running.cancel()
            _, ignoring = await asyncio.wait({running}, timeout=CANCEL_S)
            if ignoring:
                log.warning("%s goes on although it was cancelled", params.function_name)

    return limited


async def _finished(running: "asyncio.Task[None]", by_s: float) -> None:
    left_s = max(0.0, by_s - asyncio.get_running_loop().time())
    done, _ = await asyncio.wait({running}, timeout=left_s)
    if done:
        await running
    else:
        log.warning("%s has given its result, goes on and is cancelled", running.get_name())


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return bool(task and task.cancelling())


class _ToolCall:
    """The first final result of a tool call; what comes after it, or after the deadline, is dropped."""

    def __init__(self, params: FunctionCallParams) -> None:
        self._params = params
        self._result: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._overdue = False

    @property
    def has_result(self) -> bool:
        return self._result.done()

    async def answer(self, result: Any, *, properties: FunctionCallResultProperties | None = None) -> None:
        """Pass a result on, as the `result_callback` of the call's parameters."""
        if self._overdue or self.has_result:
            log.warning("a result of %s came too late and is ignored", self._params.function_name)
            return
        if properties is None or properties.is_final:
            self._result.set_result(None)
        await self._params.result_callback(result, properties=properties)

    async def answered(self, running: "asyncio.Task[None]", within_s: float) -> bool:
        """Wait for a result, or for `running` to fail. False after `within_s` without either."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.wait({running, self._result}, return_when=asyncio.FIRST_COMPLETED)
                if not self.has_result and not running.cancelled() and not running.exception():
                    await asyncio.wait({self._result})
                return True
        self._overdue = not self.has_result
        return self.has_result
