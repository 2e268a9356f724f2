"""A call as it went: what was said, heard and answered, and the recording of what the caller heard."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from .recording import Result, Turn
from .script import Said

RECORDING_RATE_HZ = 24_000
_EDGE_S = 0.050  # an edge in noise may lie this far before the file's first sample

Stereo = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the server's work on a turn, in ms from the end of the caller's speech."""

    name: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class CallTurn:
    """One file and the agent's answer.

    From the server: outcome, heard, answered, v2v_ms, stages, spans, trace_id, why; where a file took several turns the
    texts are joined and the rest is the last one's; `reports` is that account itself. From the recording: heard_v2v_ms,
    from the caller's last sample to the agent's first as heard, and barge_in_ms, how long the agent spoke on after the
    caller broke in with this file.
    Outcomes of our own: `unanswered` (nothing heard, nothing reported) and `unreported` (heard, but not reported).
    """

    file: str
    said: str
    heard: str
    answered: str
    outcome: str
    v2v_ms: float | None
    heard_v2v_ms: float | None
    barge_in_ms: float | None
    stages: tuple[Stage, ...]
    spans: tuple[Stage, ...]
    turn_ids: tuple[str, ...]
    trace_id: str = ""
    why: str = ""
    reports: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ServerError:
    """An error that the server reported (`antiphon.error`)."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class LineQuality:
    """The line's own delays and losses.

    `late_ms` is the worst delay of the caller's own 20 ms tick: no figure of the call is better than that. `underruns`
    counts the ticks that ran out of audio halfway, `overrun_s` is audio that did not fit the playout buffer,
    `ignored_frames` counts what was malformed.
    """

    late_ms: float
    underruns: int
    overrun_s: float
    ignored_frames: int


@dataclass(frozen=True, slots=True)
class Call:
    """A whole call, or as much of it as there was.

    `recording` is frames x 2 at 24 kHz: the caller left, the agent right as the caller heard it. `measured` is its
    analysis.
    """

    session_id: str
    agent: str
    url: str
    load_average: float | None
    machine: str
    turns: tuple[CallTurn, ...]
    errors: tuple[ServerError, ...]
    line: LineQuality
    recording: Stereo
    measured: Result

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `json.dumps`; all but the recording and the reports, and of its analysis the `troubles`."""
        kept = [field.name for field in fields(self) if field.name not in ("recording", "measured")]
        content = {name: _plain(getattr(self, name)) for name in kept}
        content["troubles"] = asdict(self.measured.troubles)
        content["turns"] = [
            {key: value for key, value in turn.items() if key != "reports"} for turn in content["turns"]
        ]
        return content

    def save_recording(self, path: Path) -> None:
        """Write the recording as a 16-bit WAV. Raises OSError."""
        with path.open("wb") as file:
            sf.write(file, self.recording, RECORDING_RATE_HZ, subtype="PCM_16", format="WAV")


def call_turns(said: list[Said], measured: Result) -> tuple[CallTurn, ...]:
    """Each utterance with the server's account of it and what the recording says."""
    return tuple(_call_turn(one, measured) for one in said)


def _call_turn(said: Said, measured: Result) -> CallTurn:
    last = said.turns[-1] if said.turns else {}
    turn = _measured_turn(said, measured)
    broke_in = [one.silent_after_ms for one in measured.barge_ins if turn is not None and one.turn == turn.number]
    missing = "unreported" if said.heard_agent_ticks else "unanswered"
    return CallTurn(
        file=str(said.utterance.path),
        said=said.utterance.said,
        heard=_joined(said, "heard"),
        answered=_joined(said, "answered"),
        outcome=str(last.get("outcome") or missing),
        v2v_ms=_number(last.get("v2v_ms")),
        heard_v2v_ms=turn.v2v_ms if turn is not None else None,
        barge_in_ms=broke_in[0] if broke_in else None,
        stages=stages(last.get("stages")),
        spans=stages(last.get("spans")),
        turn_ids=tuple(str(one.get("turn_id", "")) for one in said.turns),
        trace_id=str(last.get("trace_id") or ""),
        why=str(last.get("why") or ""),
        reports=tuple(said.turns),
    )


def _measured_turn(said: Said, measured: Result) -> Turn | None:
    """The last turn of the recording that begins within what was played, or the one that it is the most of.

    The file's own edges are not compared: in noise they are where the analysis puts them, and there is only one.
    """

    def overlap_s(turn: Turn) -> float:
        return min(turn.caller_end_s, said.end_s) - max(turn.caller_start_s, said.start_s)

    within = [turn for turn in measured.turns if overlap_s(turn) > 0]
    begun = [turn for turn in within if turn.caller_start_s >= said.start_s - _EDGE_S]
    return begun[-1] if begun else max(within, key=overlap_s, default=None)


def _joined(said: Said, key: str) -> str:
    return " ".join(str(turn[key]).strip() for turn in said.turns if turn.get(key))


def stages(value: Any) -> tuple[Stage, ...]:
    """Return the well-formed items of a list of the server's; leave the rest out."""
    found = []
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict):
            start, end = _number(item.get("start_ms")), _number(item.get("end_ms"))
            if start is not None and end is not None:
                found.append(Stage(str(item.get("name", "")), start, end))
    return tuple(found)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
