"""Voice-to-voice latency as it was heard: the analysis of a recording of a caller and an agent.

A turn is a run of the caller's speech, pauses included, up to where the agent starts to speak. Its latency runs from
the caller's last sample to the agent's first. The agent's echo in the caller's channel is no turn.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from .cut_off import is_cut_off
from .dead_air import (
    BrokenOff,
    DeadAir,
    SelfTalk,
    SilenceAfterInterruption,
    Sounds,
    Trouble,
    Troubles,
    find_troubles,
)
from .echo import Echo
from .sides import Sides, Span, read_sides, sides_of
from .speech import Segment, Speech, Threshold
from .stats import Latencies, summarise
from .wav import Audio

LONGEST_PAUSE_S = 3.0
DEAD_AIR_S = 3.0
SILENCE_S = 2.0


class Outcome(StrEnum):
    """Outcome of a turn; only `answered` turns have a latency."""

    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    TALKED_OVER = "talked_over"  # the agent started before the caller had finished


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn; times in seconds from the start of the recording. The agent's are None when it did not answer."""

    number: int
    outcome: Outcome
    caller_start_s: float
    caller_end_s: float
    agent_start_s: float | None
    agent_end_s: float | None
    v2v_ms: float | None


@dataclass(frozen=True, slots=True)
class Overlap:
    """Both speak."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class BargeIn:
    """The caller starts while the agent speaks; `silent_after_ms` is how long the agent goes on."""

    turn: int
    at_s: float
    silent_after_ms: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody speaks, for longer than a listener takes for a pause; it may be the caller's own."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Channel:
    """Detection threshold of one side's speech, and the amount of speech found."""

    threshold: Threshold
    speech_s: float
    segments: int


@dataclass(frozen=True, slots=True)
class Summary:
    """`v2v` ranks all turns: one that was not answered, or was talked over, counts as slower than any other.

    `broken_off` leaves out replies that a caller interrupted and that were followed by another, and pauses.
    """

    turns: int
    answered: int
    unanswered: int
    talked_over: int
    barge_ins: int
    v2v: Latencies
    dead_air: int = 0
    dead_air_total_s: float = 0.0
    broken_off: int = 0
    silence_after_interruption: int = 0
    self_talk: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """All that a recording says. `longest_pause_s`: a longer silence between two utterances makes them two turns.

    `dead_air` lasts more than `dead_air_s` after a turn, and that is also how long an interruption may go unanswered.
    `silences` are those of both sides, between the first and the last speech, of `silence_s` or more. `echo` is the
    agent's in the caller's channel, None where there is none.
    """

    rate_hz: int
    duration_s: float
    caller: Channel
    agent: Channel
    turns: tuple[Turn, ...]
    overlaps: tuple[Overlap, ...]
    barge_ins: tuple[BargeIn, ...]
    dead_air: tuple[DeadAir, ...]
    dead_air_s: float
    longest_pause_s: float
    summary: Summary
    silences: tuple[Silence, ...] = ()
    silence_s: float = SILENCE_S
    broken_off: tuple[BrokenOff, ...] = ()
    silence_after_interruption: tuple[SilenceAfterInterruption, ...] = ()
    self_talk: tuple[SelfTalk, ...] = ()
    echo: Echo | None = None

    @property
    def troubles(self) -> Troubles:
        return Troubles(self.dead_air, self.broken_off, self.silence_after_interruption, self.self_talk)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `json.dumps`."""
        return asdict(self)


def measure(
    path: Path,
    agent: Path | None = None,
    *,
    caller_speaks: Sequence[Span] = (),
    longest_pause_s: float = LONGEST_PAUSE_S,
    dead_air_s: float = DEAD_AIR_S,
) -> Result:
    """The turns of a stereo WAV file, caller left; or of two mono ones that begin together; or of one mono mix.

    Of a mix, `caller_speaks` says about when the caller does: what overlaps none of that is the agent's. Raises
    AudioError: NotStereo unless there are two sides to tell apart.
    """
    sides = read_sides(path, agent, caller_speaks)
    return analyse_sides(sides, longest_pause_s, dead_air_s)


def analyse(audio: Audio, longest_pause_s: float = LONGEST_PAUSE_S, dead_air_s: float = DEAD_AIR_S) -> Result:
    """The turns in stereo `audio`; see `measure` for files."""
    return analyse_sides(sides_of(audio), longest_pause_s, dead_air_s)


def analyse_sides(sides: Sides, longest_pause_s: float, dead_air_s: float) -> Result:
    """The turns of two sides that have been told apart."""
    rate, caller, agent = sides.rate_hz, sides.caller, sides.agent
    utterances = _utterances(caller.segments, agent.segments, round(longest_pause_s * rate))
    turns = tuple(_turn(number, utterances, agent.segments, rate) for number in range(1, len(utterances) + 1))
    barge_ins = tuple(
        BargeIn(number, round(said.start / rate, 4), _ms(heard.end - said.start, rate))
        for number, said in enumerate(utterances, 1)
        for heard in agent.segments
        if heard.start < said.start < heard.end
    )
    sounds = Sounds(utterances, agent.segments, sides.samples, rate, sides.echo is not None)
    troubles = find_troubles(sounds, dead_air_s, lambda one: is_cut_off(sides.waves[-1], rate, one))
    return Result(
        rate_hz=rate,
        duration_s=round(sides.samples / rate, 4),
        caller=_channel(caller, rate),
        agent=_channel(agent, rate),
        turns=turns,
        overlaps=_overlaps(caller.segments, agent.segments, rate),
        barge_ins=barge_ins,
        dead_air=troubles.dead_air,
        dead_air_s=dead_air_s,
        longest_pause_s=longest_pause_s,
        summary=_summary(turns, len(barge_ins), troubles),
        silences=_silences((*caller.segments, *agent.segments), rate, SILENCE_S),
        broken_off=troubles.broken_off,
        silence_after_interruption=troubles.silence_after_interruption,
        self_talk=troubles.self_talk,
        echo=sides.echo,
    )


def _utterances(caller: tuple[Segment, ...], agent: tuple[Segment, ...], longest_pause: int) -> list[Segment]:
    """The caller's speech, joined over pauses in which the agent did not start to speak."""
    joined: list[Segment] = []
    for segment in caller:
        if joined:
            last = joined[-1]
            answered = any(last.start <= reply.start < segment.start for reply in agent)
            if not answered and segment.start - last.end <= longest_pause:
                joined[-1] = Segment(last.start, segment.end)
                continue
        joined.append(segment)
    return joined


def _turn(number: int, utterances: list[Segment], agent: tuple[Segment, ...], rate: int) -> Turn:
    said = utterances[number - 1]
    until = utterances[number].start if number < len(utterances) else None
    replies = [reply for reply in agent if reply.start >= said.start and (until is None or reply.start < until)]
    start, end = round(said.start / rate, 4), round(said.end / rate, 4)
    if not replies:
        return Turn(number, Outcome.UNANSWERED, start, end, None, None, None)
    first = replies[0].start
    spoken = round(first / rate, 4), round(replies[-1].end / rate, 4)
    if first < said.end:
        return Turn(number, Outcome.TALKED_OVER, start, end, *spoken, None)
    return Turn(number, Outcome.ANSWERED, start, end, *spoken, _ms(first - said.end, rate))


def _overlaps(caller: tuple[Segment, ...], agent: tuple[Segment, ...], rate: int) -> tuple[Overlap, ...]:
    both = ((max(a.start, b.start), min(a.end, b.end)) for a in caller for b in agent)
    return tuple(Overlap(round(start / rate, 4), round(end / rate, 4)) for start, end in sorted(both) if start < end)


def _silences(spoken: Sequence[Segment], rate: int, least_s: float) -> tuple[Silence, ...]:
    found, heard_until = [], None
    for segment in sorted(spoken, key=lambda one: one.start):
        if heard_until is not None and segment.start - heard_until >= least_s * rate:
            found.append(Silence(round(heard_until / rate, 4), round(segment.start / rate, 4)))
        heard_until = max(heard_until or 0, segment.end)
    return tuple(found)


def _channel(speech: Speech, rate: int) -> Channel:
    seconds = sum(segment.end - segment.start for segment in speech.segments) / rate
    return Channel(speech.threshold, round(seconds, 3), len(speech.segments))


def _summary(turns: tuple[Turn, ...], barge_ins: int, troubles: Troubles) -> Summary:
    outcomes = [turn.outcome for turn in turns]
    return Summary(
        turns=len(turns),
        answered=outcomes.count(Outcome.ANSWERED),
        unanswered=outcomes.count(Outcome.UNANSWERED),
        talked_over=outcomes.count(Outcome.TALKED_OVER),
        barge_ins=barge_ins,
        v2v=summarise([turn.v2v_ms for turn in turns]),
        dead_air_total_s=troubles.dead_air_total_s,
        **{kind.value: troubles.count(kind) for kind in Trouble},
    )


def _ms(samples: int, rate: int) -> float:
    return round(1000.0 * samples / rate, 2)
