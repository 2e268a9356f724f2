import pytest
from web import web

from antiphon_orchestrator.sessions import REMEMBERED, Full, UnknownAgent


async def test_a_session_has_its_agent_and_a_name_of_its_own() -> None:
    async with web() as at, at.sessions.admitted("") as one, at.sessions.admitted("bob") as two:
        assert (one.agent_name, two.agent_name) == ("ava", "bob")
        assert one.session_id != two.session_id
        assert at.sessions.find(two.session_id) is two
        assert at.sessions.active == at.sample("antiphon_sessions_active") == 2


async def test_one_session_too_many_is_refused_and_counted_and_a_place_is_free_again_when_one_ends() -> None:
    async with web(limit=1) as at:
        async with at.sessions.admitted(""):
            with pytest.raises(Full, match="all 1 conversations are taken"):
                at.sessions.check("")
            with pytest.raises(Full):
                async with at.sessions.admitted(""):
                    pass
        at.sessions.check("")
        assert at.sample("antiphon_sessions_refused_total", reason="full") == 2
        assert at.sessions.active == at.sample("antiphon_sessions_active") == 0


async def test_an_unknown_agent_is_refused_with_those_there_are_and_counted() -> None:
    async with web() as at:
        with pytest.raises(UnknownAgent, match="no agent 'eve': there are ava, bob"):
            at.sessions.check("eve")
        assert at.sample("antiphon_sessions_refused_total", reason="unknown_agent") == 1


async def test_a_session_that_fails_gives_its_place_back() -> None:
    async with web(limit=1) as at:
        with pytest.raises(RuntimeError):
            async with at.sessions.admitted(""):
                raise RuntimeError
        assert at.sessions.active == at.sample("antiphon_sessions_active") == 0


async def test_ended_sessions_are_remembered_up_to_a_bound_the_oldest_forgotten_first() -> None:
    async with web() as at:
        names = [f"call-{n}" for n in range(REMEMBERED + 2)]
        for name in names:
            async with at.sessions.admitted("", name):
                pass
        assert at.sessions.find(names[0]) is at.sessions.find(names[1]) is None
        assert all(at.sessions.find(name) for name in names[2:])


async def test_a_sessions_timeline_is_served_during_and_after_it() -> None:
    async with web() as at:
        async with at.sessions.admitted("", "call-1"):
            during = (await at.http.get("/api/sessions/call-1")).json()
        after = (await at.http.get("/api/sessions/call-1")).json()
        assert during == {"session_id": "call-1", "agent": "ava", "ended": None, "turns": []}
        assert after == {**during, "ended": "server"}
        assert (await at.http.get("/api/sessions/call-2")).status_code == 404


async def test_health_counts_the_sessions() -> None:
    async with web() as at, at.sessions.admitted(""):
        assert (await at.http.get("/healthz")).json() == {"status": "ok", "sessions": 1}
