"""Script of a call: the caller plays one file after another, each once the agent has answered the one before.

Time is counted in ticks, so a script runs the same in a test as in a call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np

from .speech import AUDIBLE_DBFS, find_speech
from .wav import CALL_RATE_HZ, Pcm

TICK_S = 0.020
GREETING_WAIT_S = 0.7
QUIET_S = 0.5
LONGEST_ANSWER_S = 120.0
_AUDIBLE = 10.0 ** (AUDIBLE_DBFS / 20.0)
_TICK = round(TICK_S * CALL_RATE_HZ)
_SILENCE: Pcm = np.zeros(_TICK, np.int16)


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing to say: whole ticks of audio at 16 kHz, and the sample after its last speech."""

    path: Path
    said: str
    pcm: Pcm
    speech_end: int

    @classmethod
    def of(cls, path: Path, said: str, pcm: Pcm) -> "Utterance":
        padded = np.pad(pcm, (0, -len(pcm) % _TICK))
        segments = find_speech(padded.astype(np.float32) / 32768.0, CALL_RATE_HZ).segments
        return cls(path, said, padded, segments[-1].end if segments else len(padded))


@dataclass(slots=True)
class Said:
    """An utterance as it went: the tick it began at, the server's turns for it, and whether the agent was heard."""

    utterance: Utterance
    began_tick: int
    turns: list[dict[str, Any]] = field(default_factory=list)
    heard_agent_ticks: int = 0
    turn_owed: bool = False  # the next utterance cut the answer short before the server had reported on it

    @property
    def speech_end_tick(self) -> int:
        return self.began_tick + -(-self.utterance.speech_end // _TICK)

    @property
    def start_s(self) -> float:
        return self.began_tick * TICK_S

    @property
    def end_s(self) -> float:
        """End of the file in seconds, including its trailing silence."""
        return self.start_s + len(self.utterance.pcm) / CALL_RATE_HZ


class _Phase(Enum):
    CONNECTING = auto()
    GREETING = auto()
    SPEAKING = auto()
    LISTENING = auto()
    DONE = auto()


class Script:
    """Decides, tick by tick, what the caller says. `said` is the call so far.

    `timeout_s` is how long a turn may go without anything heard from the agent. With `barge_in_at_s`, the next
    utterance starts as soon as the answer to the one before has been heard for that long.
    """

    def __init__(self, utterances: Sequence[Utterance], timeout_s: float, barge_in_at_s: float | None) -> None:
        self._utterances = utterances
        self._timeout = round(timeout_s / TICK_S)
        self._barge_in = None if barge_in_at_s is None else max(1, round(barge_in_at_s / TICK_S))
        self._phase = _Phase.CONNECTING
        self._tick = 0
        self._session_tick = 0
        self._audible_tick = -1  # the last tick in which the agent was heard
        self._turn_over_tick = -1
        self.said: list[Said] = []

    @property
    def done(self) -> bool:
        return self._phase is _Phase.DONE

    @property
    def connecting(self) -> bool:
        return self._phase is _Phase.CONNECTING

    def session_began(self) -> None:
        """The server has said which session this is: a greeting may follow."""
        if self.connecting:
            self._phase, self._session_tick = _Phase.GREETING, self._tick

    def turn_over(self, turn: dict[str, Any]) -> None:
        """The server's account of a turn, kept with the utterance it belongs to; before the first one there is none."""
        if not self.said:
            return
        current = self.said[-1]
        owed = next((said for said in self.said[:-1] if said.turn_owed), None)
        speech_over = self._tick >= current.speech_end_tick
        if owed is not None and (turn.get("outcome") == "interrupted" or not speech_over):
            owed.turns.append(turn)
            owed.turn_owed = False
            return
        current.turns.append(turn)
        if speech_over:
            self._turn_over_tick = self._tick

    def next(self, heard_peak: float) -> Pcm:
        """Return the audio of the coming tick. `heard_peak` is the agent's peak level in that tick (full scale 1)."""
        if heard_peak >= _AUDIBLE:
            self._audible_tick = self._tick
            if self.said and self._tick >= self.said[-1].speech_end_tick:
                self.said[-1].heard_agent_ticks += 1
        if self._phase is _Phase.GREETING and self._greeting_over():
            self._begin()
        elif self._phase is _Phase.LISTENING:
            self._listen()
        chunk = self._speech()
        self._tick += 1
        return chunk

    def _greeting_over(self) -> bool:
        waited = self._tick - self._session_tick
        if self._audible_tick < 0:
            return waited >= GREETING_WAIT_S / TICK_S
        return self._quiet() or waited >= LONGEST_ANSWER_S / TICK_S

    def _listen(self) -> None:
        current = self.said[-1]
        last = len(self.said) == len(self._utterances)
        if self._barge_in is not None and not last and current.heard_agent_ticks >= self._barge_in:
            current.turn_owed = self._turn_over_tick < current.speech_end_tick
            self._begin()
            return
        over = self._turn_over_tick >= current.speech_end_tick and self._quiet()
        silent_since = max(current.speech_end_tick, self._audible_tick)
        gave_up = self._tick - silent_since >= self._timeout
        endless = self._tick - current.speech_end_tick >= LONGEST_ANSWER_S / TICK_S + self._timeout
        if not (over or gave_up or endless):
            return
        if last:
            self._phase = _Phase.DONE
        else:
            self._begin()

    def _quiet(self) -> bool:
        return self._tick - max(self._audible_tick, self._turn_over_tick) > QUIET_S / TICK_S

    def _begin(self) -> None:
        self.said.append(Said(self._utterances[len(self.said)], self._tick))
        self._phase = _Phase.SPEAKING

    def _speech(self) -> Pcm:
        if self._phase is not _Phase.SPEAKING:
            return _SILENCE
        current = self.said[-1]
        at = (self._tick - current.began_tick) * _TICK
        chunk = current.utterance.pcm[at : at + _TICK]
        if at + _TICK >= len(current.utterance.pcm):
            self._phase = _Phase.LISTENING
        return chunk
