"""A caller with a phone: places a real-time call to the orchestrator over its WebSocket and records what it hears."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from .call import RECORDING_RATE_HZ, Call, LineQuality, ServerError, Stereo, call_turns
from .errors import (
    BadToken,
    CallDropped,
    CallError,
    NoSession,
    Refused,
    ServerFull,
    UnknownAgent,
    Unreachable,
)
from .frames import AgentAudio, DropAudio, Message, decode, encode_audio, encode_message
from .machine import load_average, machine
from .playout import Playout
from .recording import analyse
from .script import TICK_S, Script, Utterance
from .wav import CALL_RATE_HZ, Audio, Pcm, Samples, load_call_audio, resampled, to_pcm

_STALLED_S = 5.0
_CLOSE_S = 2.0


async def place_call(
    url: str,
    files: Sequence[Path],
    *,
    agent: str | None = None,
    token: str | None = None,
    barge_in_at_s: float | None = None,
    timeout_s: float = 20.0,
    connect_timeout_s: float = 10.0,
) -> Call:
    """Say each file in turn and record the answers; one file alone is said again to barge in with.

    `url` is ws://host:port/ws; `agent` and `token` are added to its query. `timeout_s`: how long a turn may go without
    anything heard. Raises AudioError for a file, CallError for the call; its `.call` is what was recorded until then.
    """
    utterances = await asyncio.to_thread(load_utterances, files)
    if barge_in_at_s is not None and len(utterances) == 1:
        utterances = utterances * 2
    to = address(url, agent, token)
    async with await _dial(to, connect_timeout_s) as socket:
        line = _Line(_without_token(to), Script(utterances, timeout_s, barge_in_at_s))
        failure = await _converse(socket, line, connect_timeout_s)
    call = await asyncio.to_thread(line.call)
    if failure is not None:
        failure.call = call
        raise failure
    return call


def load_utterances(files: Sequence[Path]) -> list[Utterance]:
    """What the caller will say. The text of hi.wav is in hi.txt or hi.wav.txt; without one it is the file's name."""
    if not files:
        raise CallError("there is nothing to say: give at least one WAV file")
    return [Utterance.of(path, _text(path), load_call_audio(path)) for path in files]


def _text(path: Path) -> str:
    for sidecar in (path.with_suffix(".txt"), path.with_name(f"{path.name}.txt")):
        if sidecar.is_file():
            return " ".join(sidecar.read_text(encoding="utf-8", errors="replace").split())
    return path.name


def address(url: str, agent: str | None, token: str | None) -> str:
    """The WebSocket's address with its query."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query |= {name: value for name, value in (("agent", agent), ("token", token)) if value is not None}
    return urlunsplit(parts._replace(query=urlencode(query)))


def _without_token(address: str) -> str:
    """What may be written down: a token is a credential."""
    parts = urlsplit(address)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "token"]
    return urlunsplit(parts._replace(query=urlencode(query)))


async def _dial(address: str, timeout_s: float) -> ClientConnection:
    public = _without_token(address)
    try:
        # Compression would add latency and gain nothing: the audio is PCM.
        return await connect(
            address, compression=None, open_timeout=timeout_s, close_timeout=_CLOSE_S, max_size=None, proxy=None
        )
    except InvalidStatus as error:
        raise _refusal(error.response.status_code, public) from error
    except InvalidURI as error:
        raise Unreachable(f"{public} is not a WebSocket address: it looks like ws://host:port/ws") from error
    except TimeoutError as error:
        raise Unreachable(f"{public} did not answer within {timeout_s:g} s") from error
    except (OSError, InvalidHandshake) as error:
        raise Unreachable(f"{public} cannot be reached: {error}") from error


def _refusal(status: int, public: str) -> CallError:
    match status:
        case 503:
            return ServerFull(f"{public} takes no more calls at the moment (503); try again later")
        case 401 | 403:
            return BadToken(f"{public} does not accept the token ({status}): it is missing, wrong or expired")
        case 404:
            return UnknownAgent(f"{public} knows no such agent, or no such path (404)")
    return Refused(f"{public} refused the call with HTTP status {status}")


class _Line:
    """One call's state: what the caller says, what the agent is heard to say, and both as recorded."""

    def __init__(self, public_url: str, script: Script) -> None:
        self._public_url = public_url
        self.script = script
        self._playout = Playout(TICK_S)
        self._left: list[Pcm] = []
        self._right: list[Samples] = []
        self._session: dict[str, str] = {"session_id": "", "agent": ""}
        self._errors: list[ServerError] = []
        self._ignored = 0
        self._late_s = 0.0
        self._reported_underruns = 0

    @property
    def last_error(self) -> str:
        return f": {self._errors[-1].message or self._errors[-1].reason}" if self._errors else ""

    def take(self, payload: str | bytes, now_s: float) -> None:
        """Something the server sent."""
        match decode(payload):
            case AgentAudio() as audio:
                self._playout.push(audio, now_s)
            case DropAudio():
                self._playout.drop(now_s)
            case Message() as message:
                self._message(message)
            case None:
                self._ignored += 1

    def tick(self, start_s: float, now_s: float) -> bytes:
        """The tick due at `start_s`: plays to the caller's ear, and returns what the microphone picks up meanwhile."""
        self._late_s = max(self._late_s, now_s - start_s)
        heard = self._playout.tick(start_s)
        said = self.script.next(float(np.abs(heard).max()) if len(heard) else 0.0)
        self._right.append(heard)
        self._left.append(said)
        return said.tobytes()

    def new_underruns(self) -> int:
        """How many gaps there were in the agent's speech since this was last asked."""
        new = self._playout.underruns - self._reported_underruns
        self._reported_underruns += new
        return new

    def call(self) -> Call:
        """The call until now. Takes as long as the analysis of the recording does."""
        stereo = self._recording()
        measured = analyse(Audio(stereo.astype(np.float32) / 32768.0, RECORDING_RATE_HZ))
        return Call(
            session_id=self._session["session_id"],
            agent=self._session["agent"],
            url=self._public_url,
            load_average=load_average(),
            machine=machine(),
            turns=call_turns(self.script.said, measured),
            errors=tuple(self._errors),
            line=LineQuality(
                late_ms=round(self._late_s * 1000, 1),
                underruns=self._playout.underruns,
                overrun_s=round(self._playout.overrun_s, 3),
                ignored_frames=self._ignored,
            ),
            recording=stereo,
            measured=measured,
        )

    def _recording(self) -> Stereo:
        # Resampled as a whole rather than as it came: the same filter, and aligned to the sample.
        rate = self._playout.rate_hz or RECORDING_RATE_HZ
        silence = np.zeros(round(TICK_S * rate), np.float32)
        left = np.concatenate(self._left or [np.zeros(0, np.int16)]).astype(np.float32) / 32768.0
        right = np.concatenate([heard if len(heard) else silence for heard in self._right] or [silence[:0]])
        channels = resampled(left, CALL_RATE_HZ, RECORDING_RATE_HZ), resampled(right, rate, RECORDING_RATE_HZ)
        length = max(map(len, channels))
        return to_pcm(np.stack([np.pad(channel, (0, length - len(channel))) for channel in channels], axis=1))

    def _message(self, message: Message) -> None:
        data = message.data
        match message.type:
            case "antiphon.session":
                self._session = {name: str(data.get(name) or "") for name in self._session}
                self.script.session_began()
            case "antiphon.turn" if isinstance(data.get("turn"), dict):
                self.script.turn_over(data["turn"])
            case "antiphon.error":
                self._errors.append(ServerError(str(data.get("reason") or ""), str(data.get("message") or "")))


async def _converse(socket: ClientConnection, line: _Line, session_timeout_s: float) -> CallError | None:
    """Carry the call through. Returns what ended it early, if anything did."""
    failure: CallError | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(_listen(socket, line), name="listen")
            await _speak(socket, line, session_timeout_s)
            listening.cancel()
    except* CallError as group:
        failure = next(error for error in group.exceptions if isinstance(error, CallError))
    except* ConnectionClosed as group:
        failure = failure or CallDropped(f"the server ended the call: {group.exceptions[0]}{line.last_error}")
    return failure


async def _listen(socket: ClientConnection, line: _Line) -> None:
    async for payload in socket:
        line.take(payload, time.monotonic())
    raise CallDropped(f"the server hung up in the middle of the call{line.last_error}")


async def _speak(socket: ClientConnection, line: _Line, session_timeout_s: float) -> None:
    """The phone's clock. A tick's audio is sent when the tick is over, as a microphone would; time never drifts."""
    start = time.monotonic()
    for tick in itertools.count():
        microphone = line.tick(start + tick * TICK_S, time.monotonic())
        await asyncio.sleep(start + (tick + 1) * TICK_S - time.monotonic())
        try:
            async with asyncio.timeout(_STALLED_S):
                await socket.send(encode_audio(microphone, CALL_RATE_HZ))
                if gaps := line.new_underruns():
                    await socket.send(encode_message({"type": "antiphon.underruns", "count": gaps}))
        except TimeoutError:
            raise CallDropped(f"the server took no audio for {_STALLED_S:g} s{line.last_error}") from None
        if line.script.done:
            return
        if line.script.connecting and tick * TICK_S > session_timeout_s:
            raise NoSession(f"connected, but no antiphon.session message came within {session_timeout_s:g} s")
