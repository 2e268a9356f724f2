"""Cases as data with a small function each, and the trial in which a case runs."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from ..wav import Samples
from .call import Call
from .hiccups import Proxy
from .judge import DEAD_AIR_S, Genuine, Verdict, dead_air, forged, lost_answers, self_talk
from .line import Format, Line
from .model import PLAIN, ModelServer, Reply, Request, Script, in_turn
from .phones import Phone, WebRtcPhone, WebSocketPhone

ANSWER = "The quick answer is that everything works well today."
LONG = (
    "The quick answer is that everything works well today. I can tell you much more about it if you want, because "
    "there is really a lot to say about this subject. Just tell me when to stop, and then I will."
)
LONGEST_S = 20.0


class NoSession(Exception):
    """A call that the server has taken and does not begin."""


class Stack(StrEnum):
    """Models that a case runs on: stubs, or the real CPU models; the model server is scripted on both."""

    STUB = "stub"
    REAL = "real"


class Side(StrEnum):
    """The bot that is called."""

    OURS = "ours"
    PLAIN = "plain"


class Voice(Protocol):
    """Sounds of the caller on a stack: a question, and any words where there is a voice to say them."""

    def question(self, number: int = 1) -> Samples: ...

    async def words(self, text: str) -> Samples: ...

    def least_s(self, answer: str) -> float: ...


class Place(Protocol):
    """The platform that a case calls. `kill` ends the orchestrator by SIGKILL; it is started again.

    `refusal` is what another orchestrator says that does not start with these settings; None when it starts.
    """

    page: str
    model: ModelServer
    voice: Voice
    recordings: Path
    proxies: Mapping[str, Proxy]

    async def kill(self) -> None: ...

    async def refusal(self, settings: Mapping[str, str]) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Case:
    """One trouble of a caller: the row of bugs.md (or D-number of field.md), and the issue's item that mends it.

    `agent` are fields of its agent's YAML, `settings` of the orchestrator and `environment` the rest of its variables:
    with any, or with `private`, the case has an orchestrator of its own, behind proxies that can be made to hiccup.
    A case that measures, or that may starve others, runs `alone`.
    """

    name: str
    row: str
    group: str
    kind: str
    must: str
    run: Callable[["Trial"], Awaitable[None]]
    stack: Stack = Stack.STUB
    agent: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    private: bool = False
    alone: bool = False
    plain: bool = False
    limit_s: float = LONGEST_S

    @property
    def is_private(self) -> bool:
        return self.private or bool(self.settings or self.environment)


class Trial:
    """One run of a case on one side: its calls, and what was not as it must be.

    With `patience`, of a busy machine, everything may take as many times as long.
    """

    def __init__(self, case: Case, place: Place, side: Side = Side.OURS, patience: float = 1.0) -> None:
        self.case = case
        self.place = place
        self.side = side
        self.patience = patience
        self.calls: list[Call] = []
        self.verdict = Verdict()
        self._questions: int | None = None
        self._genuine: Genuine | None = None
        self.play(Reply(ANSWER))

    @property
    def agent(self) -> str:
        return PLAIN if self.side is Side.PLAIN else self.case.name

    @property
    def voice(self) -> Voice:
        return self.place.voice

    @property
    def requests(self) -> list[Request]:
        """Requests to the model in this case."""
        return self.place.model.requests(self.agent)

    def play(self, *replies: Reply) -> None:
        """The model's answers, one after the other; the last one again and again."""
        self.script(in_turn(*replies))

    def script(self, script: Script) -> None:
        self.place.model.play(self.agent, script)

    @asynccontextmanager
    async def call(
        self, *, form: Format | None = None, phone: Phone | None = None, line: Line | None = None
    ) -> AsyncIterator[Call]:
        """A call that is ready, over a WebSocket unless `phone` says otherwise."""
        agent = "" if self.side is Side.PLAIN else self.case.name
        made = Call(
            phone or WebSocketPhone(self.place.page, agent),
            line or Line(form),
            self.place.page,
            self.voice.least_s,
            self.patience,
        )
        self.calls.append(made)
        async with made:
            if not await made.ready():
                raise NoSession("no session")
            await made.sleep(0.3)
            yield made

    @asynccontextmanager
    async def early_call(self) -> AsyncIterator[Call]:
        """A call whose caller does not wait until it is ready."""
        phone = WebSocketPhone(self.place.page, self.agent)
        made = Call(phone, Line(), self.place.page, self.voice.least_s, self.patience)
        self.calls.append(made)
        async with made:
            yield made

    def webrtc(self, *, channel: bool = True) -> WebRtcPhone:
        return WebRtcPhone(self.place.page, self.case.name, channel=channel)

    def expect(self, holds: object, reason: str) -> None:
        """Notes the reason when something does not hold; the case goes on."""
        if not holds:
            self.verdict.reasons.append(reason)

    def expect_calls(self, questions: int) -> None:
        """The model must not be asked for more than so many questions."""
        self._questions = questions

    def expect_genuine(
        self, said: Sequence[str] | None = None, results: Sequence[str] | None = None, tools: Sequence[str] = ()
    ) -> None:
        """The model must be given nothing but these words and results, and these tools."""
        self._genuine = Genuine(said, results, tools)

    def forged(self, reason: str) -> None:
        """A caller's message changed something."""
        self.verdict.forged += 1
        self.verdict.reasons.append(f"forged: {reason}")

    @property
    def context(self) -> list[dict[str, Any]]:
        """The messages of the model's last request."""
        return self.requests[-1].messages if self.requests else []

    def remembered(self, role: str) -> list[str]:
        """The texts of one role in the model's last request."""
        return [_plain(message.get("content")) for message in self.context if message.get("role") == role]

    def judge(self) -> Verdict:
        """Adds what the timelines and the model's requests tell."""
        verdict = self.verdict
        for call in self.calls:
            silences = dead_air(call.owed, call.spans, call.until_s, DEAD_AIR_S * self.patience)
            lost = lost_answers(call.owed, call.spans, call.until_s)
            verdict.dead_air += len(silences)
            verdict.lost_answers += len(lost)
            verdict.reasons += [f"dead air of {seconds:.1f} s" for seconds in silences]
            verdict.reasons += [f"lost answer to the words that ended at {turn.at_s:.1f} s" for turn in lost]
        requests = [request.to_json() for request in self.requests]
        if self._genuine is not None:
            found = forged(requests, self._genuine)
            verdict.forged += len(found)
            verdict.reasons += [f"forged: {reason}" for reason in found]
        if self._questions is not None and (more := self_talk(requests, self._questions)):
            verdict.self_talk += more
            verdict.reasons.append(f"the model was asked {more} times more than the caller asked")
        return verdict


def _plain(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content)


CATALOGUE: dict[str, Case] = {}


def case(row: str, group: str, must: str, **options: Any) -> Callable[[Callable[[Trial], Awaitable[None]]], Any]:
    """Adds the decorated function to the catalogue, under its name or `name`; its module is its kind."""

    def add(run: Callable[[Trial], Awaitable[None]]) -> Callable[[Trial], Awaitable[None]]:
        name = options.pop("name", run.__name__)
        if name in CATALOGUE:
            raise ValueError(f"two cases are called {name}")
        kind = run.__module__.rpartition(".")[2]
        CATALOGUE[name] = Case(name=name, row=row, group=group, kind=kind, must=must, run=run, **options)
        return run

    return add
