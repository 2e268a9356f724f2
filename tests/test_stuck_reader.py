"""A caller who stops reading: nothing more can be said to it, and its call does not go on for ever."""

import asyncio
from functools import partial
from typing import Any

import pytest
from pipecat.transports.websocket.fastapi import FastAPIWebsocketOutputTransport, FastAPIWebsocketParams
from platform_fixture import AVA, platform, until
from raw_caller import dialled

from antiphon_orchestrator import web


async def test_a_call_ends_when_its_caller_has_stopped_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never_written(_: Any, __: Any) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(FastAPIWebsocketOutputTransport, "write_audio_frame", never_written)
    hasty = partial(FastAPIWebsocketParams, audio_out_write_timeout_secs=0.3)
    monkeypatch.setattr(web, "FastAPIWebsocketParams", hasty)
    greets = AVA.model_copy(update={"greeting": "Hello."})
    async with platform(agents={"ava": greets}) as at, dialled(at.url) as caller:
        await caller.until_session()
        session = at.sessions.find(caller.session_id)
        assert session
        await until(lambda: at.sessions.active == 0)
        assert session.ended == "caller"
