"""Everything has an end: silent callers, long calls, sessions that never begin."""

import asyncio

import httpx
from websockets.exceptions import InvalidStatus

from ..case import ANSWER, Trial, case
from ..phones import WebSocketPhone
from ..sounds import beep

GROUP = "16.4"


async def _let_go(trial: Trial, *, muted: bool) -> None:
    """A caller who never speaks is asked twice, told goodbye, and let go."""
    async with trial.call() as call:
        call.line.muted = muted
        first = await call.speaks(5.0)
        trial.expect(first, "no prompt to a caller who never speaks")
        if not first:
            return
        closed = await call.closes(14.0)
        said_s, closed_s = call.last_heard_s, call.closed_s
    trial.expect(closed, "the call is still open")
    if closed and closed_s is not None:
        trial.expect(len(call.spans) >= 2, "closed without a goodbye")
        trial.expect(closed_s - said_s < 3.0, "closed long after the goodbye")


@case("31", GROUP, "two prompts, a goodbye, and the end", agent={"idle_after_s": 2.0})
async def idle_without_greeting(trial: Trial) -> None:
    """A caller who never speaks, an agent without a greeting."""
    await _let_go(trial, muted=False)


@case("31", GROUP, "two prompts, a goodbye, and the end", agent={"idle_after_s": 2.0, "greeting": "Hello there."})
async def idle_after_greeting(trial: Trial) -> None:
    """A caller who never speaks, after a greeting."""
    await _let_go(trial, muted=False)


@case("31", GROUP, "two prompts, a goodbye, and the end", agent={"idle_after_s": 2.0})
async def idle_without_audio(trial: Trial) -> None:
    """A caller whose client never sends anything."""
    await _let_go(trial, muted=True)


@case("31", GROUP, "a prompt within 22 s by default", limit_s=30.0)
async def idle_by_default(trial: Trial) -> None:
    """A caller who never speaks to an agent of which nothing is set."""
    async with trial.call() as call:
        trial.expect(await call.speaks(23.0), "no prompt within 23 s")


@case("31", GROUP, "words, then the line closes", agent={"max_call_s": 5.0})
async def call_without_end(trial: Trial) -> None:
    """A caller who goes on for longer than a call may last."""
    async with trial.call() as call:
        await call.say(beep(), ANSWER)
        await call.reply()
        closed = await call.closes(11.0)
        trial.expect(closed, "the call is still open")
        trial.expect(not closed or call.last_heard_s > 4.8, "closed without a word")


@case("32", GROUP, "silent callers give their places back", agent={"idle_after_s": 1.5}, settings={"MAX_SESSIONS": "2"})
async def silent_callers_hold_no_places(trial: Trial) -> None:
    """Two sockets that send nothing on a server with two places; a third caller."""
    async with trial.call() as first, trial.call() as second:
        first.line.muted = second.line.muted = True
        closed = await asyncio.gather(first.closes(14.0), second.closes(14.0))
    phone = WebSocketPhone(trial.place.page, trial.agent)
    trial.expect(all(closed), "silent callers hold their places")
    try:
        await phone.open(lambda _: None)
    except (InvalidStatus, OSError) as error:
        trial.expect(False, f"a third caller is refused: {error}")
    finally:
        await phone.close()


@case("32", GROUP, "an offer that comes too late is refused", settings={"OFFER_WITHIN_S": "1"})
async def started_and_never_offered(trial: Trial) -> None:
    """A session is started over WebRTC and its offer comes 3 s later."""
    phone = trial.webrtc()
    async with httpx.AsyncClient(base_url=trial.place.page, trust_env=False, timeout=5.0) as http:
        body = {"transport": "webrtc", "body": {"agent": trial.agent}}
        session_id = (await http.post("/start", json=body)).json()["sessionId"]
        await asyncio.sleep(3.0)
        offer = await phone.description()
        status = (await http.post(f"/sessions/{session_id}/api/offer", json=offer)).status_code
    await phone.close()
    trial.expect(status in (404, 410), f"an offer after the deadline is answered {status}")


@case("31", "16.8", "the goodbye is heard to its end", agent={"idle_after_s": 1.0, "greeting": "Hello."})
async def goodbye_is_heard(trial: Trial) -> None:
    """The last words before the agent hangs up."""
    async with trial.call() as call:
        closed = await call.closes(15.0)
        spans = list(call.spans)
    trial.expect(closed, "the call is still open")
    goodbye_s = trial.voice.least_s("I will hang up now. Goodbye.") / 0.9
    last_s = spans[-1].end_s - spans[-1].start_s if spans else 0.0
    trial.expect(last_s > goodbye_s - 0.15, f"{last_s:.2f} s are heard of a goodbye of {goodbye_s:.2f} s")
