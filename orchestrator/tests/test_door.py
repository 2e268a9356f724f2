"""The door by itself: what it lets in, what it says of the rest, and how often."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from pipecat.frames.frames import Frame, InputTransportMessageFrame, OutputTransportMessageUrgentFrame
from prometheus_client import CollectorRegistry

from antiphon_orchestrator.agents import Agent
from antiphon_orchestrator.call_metrics import CallMetrics
from antiphon_orchestrator.containment import Containment
from antiphon_orchestrator.door import MAX_BYTES, MAX_TEXT, Admitted, Door, Refused, judge, parse
from antiphon_orchestrator.metrics import Metrics
from antiphon_orchestrator.refusals import AUDIO, MESSAGES
from antiphon_orchestrator.services.frames import TypedTextFrame
from antiphon_orchestrator.usual import Usual


@dataclass
class Worker:
    """Keeps what is put into the pipeline."""

    frames: list[Frame] = field(default_factory=list)

    async def queue_frame(self, frame: Frame) -> None:
        self.frames.append(frame)

    def of(self, kind: type[Any]) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    @property
    def errors(self) -> list[str]:
        said = [frame.message for frame in self.of(OutputTransportMessageUrgentFrame)]
        assert all(message["type"] == "antiphon.error" and message["message"] for message in said)
        return [message["reason"] for message in said]


@dataclass
class CountedClosing:
    ended: int = 0

    async def end(self) -> None:
        self.ended += 1


@dataclass
class Session:
    agent: Agent
    closing: Any = field(default_factory=CountedClosing)
    metrics: Any = None
    worker: Any = field(default_factory=Worker)
    ended: str = ""

    def end(self, by: str) -> None:
        self.ended = self.ended or by


@dataclass
class At:
    """A door, and what is on both of its sides. Time passes when the test says so."""

    session: Session
    registry: CollectorRegistry
    now_s: float = 100.0
    door: Door = field(init=False)

    def __post_init__(self) -> None:
        contained = Containment(lambda _: None)
        self.session.metrics = CallMetrics(Metrics.register(self.registry), Usual(), contained)
        self.door = Door(self.session, lambda: self.now_s)  # type: ignore[arg-type]

    async def says(self, kind: str, data: Any = None, **more: Any) -> None:
        await self.door.admit(json.dumps({"label": "rtvi-ai", "type": kind, "id": "1", "data": data} | more))

    def refused(self, reason: str, what: str = "messages") -> float:
        return self.registry.get_sample_value(f"antiphon_caller_{what}_refused_total", {"reason": reason}) or 0.0


@pytest.fixture
def at() -> At:
    return At(Session(Agent(system_prompt="x", allow_send_text=True)), CollectorRegistry())


# --- one message


def rtvi(kind: str, data: Any = None, **more: Any) -> dict[str, Any]:
    return {"label": "rtvi-ai", "type": kind, "id": "7", "data": data} | more


def test_a_client_that_is_ready_is_let_in_with_its_known_fields_only() -> None:
    about = {"library": "x", "library_version": "1", "platform_details": {"a": 1}, "platform": "y" * 500}
    admitted = judge(rtvi("client-ready", {"version": "1.2.0", "about": about, "context": []}), allow_text=False)
    assert admitted == Admitted(
        rtvi=rtvi("client-ready", {"version": "1.2.0", "about": {"library": "x", "library_version": "1"}})
    )


@pytest.mark.parametrize("data", [None, [], "1", {"version": 3}, {"version": "1" * 5000}, {"about": "x"}])
def test_a_client_that_says_nothing_sensible_of_itself_is_ready_all_the_same(data: Any) -> None:
    assert judge(rtvi("client-ready", data), allow_text=False) == Admitted(rtvi=rtvi("client-ready", {}))


def test_gaps_are_counted_from_our_own_message_and_from_a_client_message() -> None:
    ours = {"type": "antiphon.underruns", "count": 3}
    theirs = rtvi("client-message", {"t": "antiphon.underruns", "d": {"count": 3}})
    assert judge(ours, allow_text=False) == judge(theirs, allow_text=False) == Admitted(underruns=3)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (rtvi("llm-function-call-result", {"tool_call_id": "call_0", "result": 1}), "type_not_allowed"),
        (rtvi("raw-audio", {"base64Audio": "AQ=="}), "type_not_allowed"),
        (rtvi("client-message", {"t": "set-voice", "d": {}}), "type_not_allowed"),
        (rtvi("client-message"), "type_not_allowed"),
        (rtvi("send-text", {"content": "Hello"}), "text_not_allowed"),
        (rtvi(["client-ready"]), "type_not_allowed"),  # type: ignore[arg-type]
        ({"type": "client-ready", "id": "1"}, "type_not_allowed"),
        ({"type": "antiphon.turn", "turn": {}}, "type_not_allowed"),
        ({"type": "antiphon.underruns", "count": True}, "malformed"),
        ({"type": "antiphon.underruns", "count": "3"}, "malformed"),
        ({"type": "signalling", "message": {"type": "trackStatus", "receiver_index": 0, "enabled": True}}, ""),
        ({}, "type_not_allowed"),
    ],
    ids=str,
)
def test_everything_else_is_refused(message: dict[str, Any], reason: str) -> None:
    verdict = judge(message, allow_text=False)
    assert isinstance(verdict, Refused) and verdict.reason == (reason or "type_not_allowed")


@pytest.mark.parametrize(
    "message",
    [
        {"type": "renegotiate"},
        {"type": "peerLeft"},
        {"type": "trackStatus", "receiver_index": True, "enabled": True},
        {"type": "trackStatus", "receiver_index": 3, "enabled": True},
        {"type": "trackStatus", "receiver_index": 0, "enabled": 1},
        "trackStatus",
    ],
    ids=str,
)
def test_of_signalling_only_the_state_of_a_track_is_let_in(message: Any) -> None:
    verdict = judge({"type": "signalling", "message": message}, allow_text=True, signalling=True)
    assert isinstance(verdict, Refused)
    status = {"type": "trackStatus", "receiver_index": 0, "enabled": False}
    verdict = judge({"type": "signalling", "message": status | {"x": 1}}, allow_text=True, signalling=True)
    assert verdict == Admitted(signalling=status)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"content": ""},
        {"content": " \n\x00 "},
        {"content": ["Hello"]},
        {"content": "x" * (MAX_TEXT + 1)},
        {"content": "Hello", "options": {"run_immediately": False}},
        {"content": "Hello", "options": {"audio_response": False}},
        {"content": "Hello", "options": [1]},
    ],
    ids=lambda data: str(data)[:60],
)
def test_a_text_without_words_or_that_is_not_to_be_answered_like_a_turn_is_refused(data: Any) -> None:
    verdict = judge(rtvi("send-text", data), allow_text=True)
    assert isinstance(verdict, Refused) and verdict.reason == "text_unusable"


def test_a_text_is_freed_of_control_characters_and_half_surrogates() -> None:
    verdict = judge(rtvi("send-text", {"content": " Hello,\n\x1b[2J \ud800you ", "options": {}}), allow_text=True)
    assert verdict == Admitted(text="Hello,  [2J ?you")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("{", "malformed"),
        ("[]", "malformed"),
        (b"\xff\xfe", "malformed"),
        ("[" * (MAX_BYTES - 1), "malformed"),
        ("9" * (MAX_BYTES - 1), "malformed"),
        ('{"a": ' * 1300, "malformed"),
        ("x" * (MAX_BYTES + 1), "message_too_long"),
        ('{"a": "' + "é" * (MAX_BYTES // 2) + '"}', "message_too_long"),
        ("\ud800", "malformed"),
    ],
    ids=lambda data: ascii(data)[:20],
)
def test_what_is_no_short_json_object_is_refused_by_reason(data: str | bytes, reason: str) -> None:
    parsed = parse(data)
    assert isinstance(parsed, Refused) and parsed.reason == reason


def anything(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value, made of what the door looks at and of what it does not expect there."""
    words = [
        "rtvi-ai",
        "client-ready",
        "client-message",
        "send-text",
        "signalling",
        "trackStatus",
        "\ud800",
        "",
        "x" * 200,
    ]
    words += ["antiphon.underruns", "disconnect-bot", "1.0.0"]
    names = ["label", "type", "id", "data", "t", "d", "count", "content", "options", "message", "version", "about"]
    names += ["library", "receiver_index", "enabled", "run_immediately", "audio_response"]
    plain = [None, True, False, 0, -1, 7, 10**400, 1.5, float("nan"), *words]
    kind = chance.random() if depth < 4 else 1.0
    if kind < 0.6:
        return {chance.choice(names): anything(chance, depth + 1) for _ in range(chance.randrange(8))}
    if kind < 0.7:
        return [anything(chance, depth + 1) for _ in range(chance.randrange(3))]
    return chance.choice(plain)


def test_of_any_message_at_all_only_known_things_are_let_in() -> None:
    chance, admitted = random.Random(11), 0
    for _ in range(20_000):
        label = {"label": "rtvi-ai"} if chance.random() < 0.7 else {}
        kind = chance.choice(["client-ready", "client-message", "send-text", "signalling", "antiphon.underruns", "x"])
        message = label | {"type": kind, "id": anything(chance, 4), "count": anything(chance, 4)}
        message |= {"data": anything(chance), "message": anything(chance)}
        verdict = judge(message, allow_text=True, signalling=True)
        if isinstance(verdict, Refused):
            assert verdict.reason in MESSAGES and len(verdict.detail) < 300
            continue
        admitted += 1
        assert 0 <= verdict.underruns <= 1000 and len(verdict.text) <= MAX_TEXT
        if verdict.rtvi:
            assert verdict.rtvi["type"] in ("client-ready", "disconnect-bot")
            assert set(verdict.rtvi) <= {"label", "type", "id", "data"}
            assert set(verdict.rtvi.get("data", {})) <= {"version", "about"}
            assert len(json.dumps(verdict.rtvi)) < 8_000
    assert admitted > 1000


# --- the door of a session


async def test_what_is_let_in_is_all_that_reaches_the_pipeline(at: At) -> None:
    await at.says("client-ready", {"version": "1.0.0"})
    await at.says("send-text", {"content": "Hello", "options": {}})
    await at.door.admit('{"type": "antiphon.underruns", "count": 2}')
    assert [type(frame) for frame in at.session.worker.frames] == [InputTransportMessageFrame, TypedTextFrame]
    assert at.registry.get_sample_value("antiphon_client_underruns_total") == 2
    await at.says("disconnect-bot")
    assert at.session.closing.ended == 1 and at.session.ended == "caller"
    assert len(at.session.worker.frames) == 2


async def test_each_reason_is_told_once_a_second_and_counted_every_time(at: At) -> None:
    for _ in range(5):
        await at.says("raw-audio")
    await at.door.admit("{")
    assert at.session.worker.errors == ["type_not_allowed", "malformed"]
    assert at.refused("type_not_allowed") == 5 and at.refused("malformed") == 1
    at.now_s += 1.0
    await at.says("raw-audio")
    assert at.session.worker.errors == ["type_not_allowed", "malformed", "type_not_allowed"]


async def test_what_is_said_of_a_type_tells_it_and_what_is_allowed_and_is_bounded(at: At) -> None:
    await at.says("evil\x00" * 300)
    (frame,) = at.session.worker.of(OutputTransportMessageUrgentFrame)
    assert "evil" in frame.message["message"] and "client-ready" in frame.message["message"]
    assert len(frame.message["message"]) < 300 and "\x00" not in frame.message["message"]


async def test_refused_audio_is_told_once_a_second_whatever_its_faults(at: At) -> None:
    for reason in (*AUDIO, *AUDIO):
        await at.door.refuse_audio(reason)
        at.now_s += 0.01
    assert at.session.worker.errors == [next(iter(AUDIO))]
    assert {at.refused(reason, "audio") for reason in AUDIO} == {2}


async def test_a_burst_is_bounded_and_what_comes_slowly_is_not(at: At) -> None:
    for _ in range(1000):
        await at.says("client-ready", {})
    assert len(at.session.worker.of(InputTransportMessageFrame)) == 40
    assert at.refused("too_many_messages") == 960
    for _ in range(100):
        at.now_s += 0.125
        await at.says("client-ready", {})
    assert len(at.session.worker.of(InputTransportMessageFrame)) == 140


async def test_texts_are_bounded_further(at: At) -> None:
    for _ in range(10):
        await at.says("send-text", {"content": "Hello"})
    assert len(at.session.worker.of(TypedTextFrame)) == 3
    at.now_s += 2.0
    await at.says("send-text", {"content": "Hello"})
    assert len(at.session.worker.of(TypedTextFrame)) == 4


async def test_every_reason_has_its_series_from_the_start(at: At) -> None:
    for what, reasons in (("messages", MESSAGES), ("audio", AUDIO)):
        for reason in reasons:
            name = f"antiphon_caller_{what}_refused_total"
            assert at.registry.get_sample_value(name, {"reason": reason}) == 0


async def test_before_its_pipeline_and_after_it_a_session_takes_nothing_and_nothing_breaks(at: At) -> None:
    at.session.worker = None
    await at.says("client-ready", {})
    await at.says("raw-audio")
    assert at.refused("type_not_allowed") == 1
