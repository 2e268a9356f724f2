"""A process that serves, from its start."""

import gc

import pytest

from antiphon_orchestrator.serving import assembled
from antiphon_orchestrator.settings import Settings
from antiphon_orchestrator.workers.places import Places


async def test_objects_of_the_start_are_no_work_for_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    # Not for real: what other tests left behind would stay for ever.
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(gc, "collect", lambda: done.append("collect"))
    async with assembled(Settings(bind="127.0.0.1:0"), Places(1)):
        assert done == ["collect", "freeze"]
