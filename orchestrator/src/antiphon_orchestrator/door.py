"""The door: decides which messages of a caller enter the pipeline, on every transport.

An allow-list. Of Pipecat's RTVI messages `client-ready` and `disconnect-bot` enter, rebuilt from their known fields;
`client-message` carries ours; `send-text` becomes a turn where the agent allows it. Ours is `antiphon.underruns`.
Whatever else a client can send, in this Pipecat or a later one, is refused, told to the caller and counted.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import Frame, InputTransportMessageFrame, OutputTransportMessageUrgentFrame

from .client_reports import underruns
from .refusals import AUDIO, MESSAGES
from .services.frames import TypedTextFrame

if TYPE_CHECKING:
    from .session import Session

RTVI = "rtvi-ai"
SIGNALLING = "signalling"
MAX_BYTES = 8 * 1024
MAX_TEXT = 1000
# Of a name, a version or an id.
MAX_FIELD = 100
ALLOWED = "client-ready, disconnect-bot, antiphon.underruns, and send-text where the agent allows it"
# Of a send-text, which takes them as they are by default only.
TEXT_OPTIONS = ("run_immediately", "audio_response")
# The same complaint is made once in so long.
QUIET_S = 1.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that stays outside; `detail` is added to the reason's own words."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A message that may do one thing: go to Pipecat's RTVI or signalling, be said by the caller, or be counted."""

    rtvi: dict[str, Any] | None = None
    signalling: dict[str, Any] | None = None
    text: str = ""
    underruns: int = 0


def parse(data: str | bytes) -> dict[str, Any] | Refused:
    """The JSON object that a caller sent, of bounded length."""
    if len(data) > MAX_BYTES or (isinstance(data, str) and len(data.encode("utf-8", "surrogatepass")) > MAX_BYTES):
        return Refused("message_too_long", f"{MAX_BYTES} bytes are allowed")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return Refused("malformed", "it is not JSON")
    return message if isinstance(message, dict) else Refused("malformed", "it is not a JSON object")


def judge(message: dict[str, Any], *, allow_text: bool, signalling: bool = False) -> Admitted | Refused:
    """Decides on one message. `signalling`: the transport has messages of its own."""
    kind = message.get("type")
    if message.get("label") == RTVI:
        return _judge_rtvi(kind, message, allow_text)
    if kind == "antiphon.underruns":
        return _judge_underruns(message)
    if signalling and kind == SIGNALLING:
        return _judge_signalling(message.get("message"))
    return _unknown(kind)


def _judge_rtvi(kind: Any, message: dict[str, Any], allow_text: bool) -> Admitted | Refused:
    number, data = message.get("id"), message.get("data")
    known = {"label": RTVI, "type": kind, "id": clean(number)[:MAX_FIELD] if isinstance(number, str) else ""}
    match kind:
        case "client-ready":
            return Admitted(rtvi=known | {"data": _about(data)})
        case "disconnect-bot":
            return Admitted(rtvi=known)
        case "client-message" if isinstance(data, dict) and data.get("t") == "antiphon.underruns":
            return _judge_underruns(data.get("d"))
        case "client-message":
            return _unknown(data.get("t") if isinstance(data, dict) else None)
        case "send-text":
            return _judge_text(data, allow_text)
    return _unknown(kind)


def _about(data: Any) -> dict[str, Any]:
    """The version and the software that a client names, where they are short texts."""
    data = data if isinstance(data, dict) else {}
    kept = {"version": data["version"]} if _short(data.get("version")) else {}
    about = data.get("about")
    if isinstance(about, dict) and _short(about.get("library")):
        names = ("library", "library_version", "platform", "platform_version")
        kept["about"] = {name: clean(about[name]) for name in names if _short(about.get(name))}
    return kept


def _judge_text(data: Any, allow_text: bool) -> Admitted | Refused:
    if not allow_text:
        return Refused("text_not_allowed")
    data = data if isinstance(data, dict) else {}
    content, options = data.get("content"), data.get("options") or {}
    if not isinstance(content, str) or not (text := clean(content)):
        return Refused("text_unusable", "it has no content")
    if len(text) > MAX_TEXT:
        return Refused("text_unusable", f"{MAX_TEXT} characters are allowed")
    if not isinstance(options, dict) or any(options.get(name, True) is not True for name in TEXT_OPTIONS):
        return Refused("text_unusable", "every text is answered at once and aloud: leave the options out")
    return Admitted(text=text)


def _judge_underruns(message: Any) -> Admitted | Refused:
    count = underruns({**message, "type": "antiphon.underruns"}) if isinstance(message, dict) else 0
    return Admitted(underruns=count) if count else Refused("malformed", "count is a number above 0")


def _judge_signalling(message: Any) -> Admitted | Refused:
    """Let in a transport message that says whether the microphone is on. Nobody looks at a client's video."""
    if not isinstance(message, dict) or message.get("type") != "trackStatus":
        return _unknown(message.get("type") if isinstance(message, dict) else None)
    index, enabled = message.get("receiver_index"), message.get("enabled")
    if type(index) is not int or index not in range(3) or not isinstance(enabled, bool):
        return Refused("malformed", "a trackStatus has a receiver_index from 0 to 2, and enabled")
    status = {"type": "trackStatus", "receiver_index": 0, "enabled": enabled}
    return Admitted(signalling=status if index == 0 else None)


def _unknown(kind: Any) -> Refused:
    named = f"{clean(kind)[:40]!r} is none of {ALLOWED}" if isinstance(kind, str) else f"there are {ALLOWED}"
    return Refused("type_not_allowed", named)


def _short(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_FIELD


def clean(text: str) -> str:
    """The text without control characters, half surrogates and white space at its ends."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else " " for c in whole).strip()


@dataclass(slots=True)
class Allowance:
    """A token bucket: `burst` at once, and `per_s` more in the long run."""

    burst: float
    per_s: float
    now_s: float
    _left: float = field(init=False)

    def __post_init__(self) -> None:
        self._left = self.burst

    def take(self, now_s: float) -> bool:
        self._left = min(self.burst, self._left + (now_s - self.now_s) * self.per_s)
        self.now_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Door:
    """The door of one session: what passes is put into its pipeline here, and nowhere else.

    Messages that come faster than the allowance are refused unread. A caller is told of each reason once a second at
    most, and of audio once a second at most whatever the reasons.
    """

    def __init__(self, session: "Session", clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._metrics = session.metrics
        self._clock = clock
        self._messages = Allowance(burst=40, per_s=10, now_s=clock())
        self._texts = Allowance(burst=3, per_s=0.5, now_s=clock())
        self._told_s: dict[str, float] = {}

    async def admit(self, data: str | bytes, *, signalling: bool = False) -> dict[str, Any] | None:
        """Takes one message in or refuses it. Returns a signalling message that is the transport's to act on."""
        if not self._messages.take(self._clock()):
            await self.refuse("too_many_messages")
            return None
        message = parse(data)
        if isinstance(message, Refused):
            await self.refuse(message.reason, message.detail)
            return None
        verdict = judge(message, allow_text=self._session.agent.allow_send_text, signalling=signalling)
        if isinstance(verdict, Admitted) and verdict.text and not self._texts.take(self._clock()):
            verdict = Refused("too_many_messages", "typed texts: one in two seconds")
        if isinstance(verdict, Refused):
            await self.refuse(verdict.reason, verdict.detail)
            return None
        await self._take_in(verdict)
        return verdict.signalling

    async def _take_in(self, admitted: Admitted) -> None:
        if admitted.underruns:
            self._metrics.underruns(admitted.underruns)
        if admitted.text:
            await self._queue(TypedTextFrame(text=admitted.text))
        if admitted.rtvi:
            if admitted.rtvi["type"] != "disconnect-bot":
                await self._queue(InputTransportMessageFrame(message=admitted.rtvi))
            elif self._session.closing:
                self._session.end("caller")
                await self._session.closing.end()

    async def refuse(self, reason: str, detail: str = "") -> None:
        """Counts a refused message, and tells the caller."""
        self.count(reason)
        await self._tell(reason, reason, f"{MESSAGES[reason]}: {detail}" if detail else MESSAGES[reason])

    def count(self, reason: str) -> None:
        """Counts a refused message whose caller cannot be told now."""
        self._metrics.message_refused(reason)

    async def refuse_audio(self, reason: str) -> None:
        """Counts a refused frame of audio, and tells the caller."""
        self._metrics.audio_refused(reason)
        await self._tell("audio", reason, AUDIO[reason])

    async def _tell(self, subject: str, reason: str, words: str) -> None:
        now_s = self._clock()
        if now_s - self._told_s.get(subject, now_s - QUIET_S) < QUIET_S:
            return
        self._told_s[subject] = now_s
        message = {"type": "antiphon.error", "reason": reason, "message": words}
        await self._queue(OutputTransportMessageUrgentFrame(message=message))

    async def _queue(self, frame: Frame) -> None:
        if self._session.worker:
            await self._session.worker.queue_frame(frame)
