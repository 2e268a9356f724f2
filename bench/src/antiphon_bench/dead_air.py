"""Troubles of a call that its latencies do not show, from when each side sounds.

One analysis for recordings, calls and loads. Positions are in samples of one clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .speech import Segment

# An agent that the caller interrupts goes on for so long at most; one that stops later stops for another reason.
STOP_S = 1.0
# A gap up to this is a pause: the agent goes on.
RESUME_S = 1.0
# An end so near the recording's own is the recording's.
END_S = 0.3
# Replies further apart are no answers to an echo: an idle agent asks whether somebody is there.
ECHO_ANSWER_S = 6.0
LEAST_STARTS_OVER = 2

# Whether the agent's speech ends as cut off; None where that cannot be told.
CutOff = Callable[[Segment], bool | None]


class Trouble(StrEnum):
    """A kind of trouble. In JSON these are names of fields, in metrics values of a label."""

    DEAD_AIR = "dead_air"
    BROKEN_OFF = "broken_off"
    SILENCE_AFTER_INTERRUPTION = "silence_after_interruption"
    SELF_TALK = "self_talk"


class Cause(StrEnum):
    """The cause of a stop of the agent's speech in mid-flow."""

    CALLER = "caller"
    ECHO = "echo"  # nobody spoke, and the caller's channel carries the agent's voice
    NONE = "none"


class Then(StrEnum):
    """The sequel of a reply that was broken off. Only `again` and `nothing` are troubles."""

    REPLY = "reply"  # to the caller who interrupted
    RESUMED = "resumed"  # within a second
    AGAIN = "again"  # later, though the caller had said nothing
    NOTHING = "nothing"
    END = "end"  # the recording ends before it is known


@dataclass(frozen=True, slots=True)
class DeadAir:
    """Silence from the caller's last sound in `turn` to the agent's next, or until the caller spoke again or left."""

    start_s: float
    end_s: float
    turn: int


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """The agent's speech stops in mid-flow. `turn` is the one that interrupted it, None without one."""

    at_s: float
    cause: Cause
    then: Then
    turn: int | None

    @property
    def is_trouble(self) -> bool:
        return self.then in (Then.AGAIN, Then.NOTHING)


@dataclass(frozen=True, slots=True)
class SilenceAfterInterruption:
    """The caller interrupted, the agent stopped, and neither resumed nor replied in time."""

    start_s: float
    end_s: float
    turn: int


@dataclass(frozen=True, slots=True)
class SelfTalk:
    """The agent speaks `starts_over` times more without a word of the caller, over a line that carries its echo."""

    start_s: float
    end_s: float
    starts_over: int


@dataclass(frozen=True, slots=True)
class Troubles:
    dead_air: tuple[DeadAir, ...] = ()
    broken_off: tuple[BrokenOff, ...] = ()
    silence_after_interruption: tuple[SilenceAfterInterruption, ...] = ()
    self_talk: tuple[SelfTalk, ...] = ()

    def count(self, kind: Trouble) -> int:
        """The number of a kind; of what was broken off, that which is a trouble."""
        if kind is Trouble.BROKEN_OFF:
            return sum(one.is_trouble for one in self.broken_off)
        found: tuple[object, ...] = getattr(self, kind.value)
        return len(found)

    @property
    def kinds(self) -> tuple[Trouble, ...]:
        return tuple(kind for kind in Trouble if self.count(kind))

    @property
    def dead_air_total_s(self) -> float:
        return round(sum(one.end_s - one.start_s for one in self.dead_air), 4)


@dataclass(frozen=True, slots=True)
class Sounds:
    """The caller's turns and the agent's speech as stretches in samples, and the length of it all.

    `has_echo`: the caller's channel carries the agent's voice.
    """

    turns: Sequence[Segment]
    agent: Sequence[Segment]
    samples: int
    rate_hz: int
    has_echo: bool = False


def find_troubles(sounds: Sounds, wait_s: float, cut_off: CutOff = lambda _: None) -> Troubles:
    """The troubles of a call. A caller waits `wait_s` for the agent before it is one."""
    finder = _Finder(sounds, round(wait_s * sounds.rate_hz), {one: cut_off(one) for one in sounds.agent})
    broken_off = tuple(broken for one in sounds.agent if (broken := finder.broken_off(one)))
    return Troubles(
        dead_air=tuple(air for number in range(1, len(sounds.turns) + 1) if (air := finder.dead_air(number))),
        broken_off=broken_off,
        silence_after_interruption=tuple(finder.silence_after(one) for one in broken_off if _left_in_silence(one)),
        self_talk=finder.self_talk() if sounds.has_echo else (),
    )


def _left_in_silence(one: BrokenOff) -> bool:
    return one.cause is Cause.CALLER and one.then is Then.NOTHING


@dataclass(frozen=True, slots=True)
class _Finder:
    sounds: Sounds
    wait: int
    cut_off: dict[Segment, bool | None]

    def dead_air(self, number: int) -> DeadAir | None:
        turns, agent = self.sounds.turns, self.sounds.agent
        said = turns[number - 1]
        silent = said.end
        for reply in agent:
            if reply.start < silent < reply.end:
                if not self._stops_for(reply, said):
                    return None
                silent = reply.end
        next_turn = turns[number].start if number < len(turns) else self.sounds.samples
        sound = min((one.start for one in agent if one.start >= silent), default=self.sounds.samples)
        end = min(sound, max(silent, next_turn))
        return DeadAir(self._s(silent), self._s(end), number) if end - silent > self.wait else None

    def broken_off(self, reply: Segment) -> BrokenOff | None:
        if self.sounds.samples - reply.end <= self._samples(END_S):
            return None
        numbers = [n for n, said in enumerate(self.sounds.turns, 1) if self._stops_for(reply, said)]
        if numbers:
            said = self.sounds.turns[numbers[-1] - 1]
            return BrokenOff(self._s(reply.end), Cause.CALLER, self._after_caller(reply, said), numbers[-1])
        if not self.cut_off[reply]:
            return None
        cause = Cause.ECHO if self.sounds.has_echo else Cause.NONE
        return BrokenOff(self._s(reply.end), cause, self._after_nobody(reply), None)

    def silence_after(self, broken: BrokenOff) -> SilenceAfterInterruption:
        assert broken.turn is not None
        at = round(broken.at_s * self.sounds.rate_hz)
        start = self._last_sound(max(at, self.sounds.turns[broken.turn - 1].end))
        end = min((one.start for one in self.sounds.agent if one.start >= start), default=self.sounds.samples)
        return SilenceAfterInterruption(self._s(start), self._s(end), broken.turn)

    def self_talk(self) -> tuple[SelfTalk, ...]:
        runs: list[list[Segment]] = [[]]
        for reply in self.sounds.agent:
            if runs[-1] and not self._starts_over(runs[-1][-1], reply):
                runs.append([])
            runs[-1].append(reply)
        return tuple(
            SelfTalk(self._s(run[0].start), self._s(run[-1].end), len(run) - 1)
            for run in runs
            if len(run) > LEAST_STARTS_OVER
        )

    def _stops_for(self, reply: Segment, said: Segment) -> bool:
        """True when the caller's turn begins within the reply, and the reply is over soon after, unfinished."""
        during = reply.start < said.start < reply.end
        soon = reply.end <= said.end + self._samples(STOP_S)
        return during and soon and self.cut_off[reply] is not False

    def _after_caller(self, reply: Segment, said: Segment) -> Then:
        silent = self._last_sound(max(reply.end, said.end))
        return self._within(silent, self.wait, Then.REPLY)

    def _after_nobody(self, reply: Segment) -> Then:
        resumed = self._within(reply.end, self._samples(RESUME_S), Then.RESUMED)
        return self._within(reply.end, self.wait, Then.AGAIN) if resumed is Then.NOTHING else resumed

    def _within(self, silent: int, most: int, then: Then) -> Then:
        """`then` when the agent sounds within `most` of `silent`."""
        sound = min((one.start for one in self.sounds.agent if one.start >= silent), default=None)
        if sound is None and self.sounds.samples - silent <= most:
            return Then.END
        return then if sound is not None and sound - silent <= most else Then.NOTHING

    def _last_sound(self, silent: int) -> int:
        """The end of the last turn in a row that begins before the agent sounds and before it is overdue."""
        for said in self.sounds.turns:
            sound = min((one.start for one in self.sounds.agent if one.start >= silent), default=self.sounds.samples)
            if silent < said.end and said.start < min(sound, silent + self.wait):
                silent = said.end
        return silent

    def _starts_over(self, before: Segment, reply: Segment) -> bool:
        spoken = any(before.start <= said.start < reply.start for said in self.sounds.turns)
        gap = reply.start - before.end
        # After a cut any gap tells; after a whole reply, one that is no pause between sentences.
        answered = self.cut_off[before] or gap > self._samples(RESUME_S)
        return bool(not spoken and answered and gap <= self._samples(ECHO_ANSWER_S))

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.sounds.rate_hz)

    def _s(self, samples: int) -> float:
        return round(samples / self.sounds.rate_hz, 4)
