"""One caller of many: decides at each tick of 20 ms what to send, and notes what comes back.

Knows nothing of transports and clocks: it is told the time, in seconds of one monotonic clock.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from ..dead_air import Sounds, Troubles, find_troubles
from ..recording import DEAD_AIR_S
from ..speech import MERGE_S, Segment
from .belongs import Judge
from .material import TICK_S, Question
from .plan import Manner
from .rows import Outcome, TurnRow

GREETING_S = 0.5
QUIET_S = 0.4
# A server that has said its answer reports on it by then, or does not report.
REPORT_S = 1.2
LONGEST_ANSWER_S = 60.0
# So long an answer that was given up is waited for, or it would pass for a very fast one to the next question.
LATE_S = 10.0


@dataclass(frozen=True, slots=True)
class Lines:
    """Speech of one process's callers, with and without a hesitation, and the audio they send between questions."""

    plain: Sequence[Question]
    paused: Sequence[Question]
    idle: Sequence[bytes]
    judge: Judge


class _Phase(Enum):
    CONNECTING = auto()
    WAITING = auto()
    SPEAKING = auto()
    LISTENING = auto()
    DONE = auto()


@dataclass(slots=True)
class _Asked:
    """A question as it goes. `end_s` is when its last speech sample was over."""

    question: Question
    began_s: float
    end_s: float
    number: int
    late_s: float = 0.0
    first_s: float | None = None
    early: bool = False
    report: dict[str, Any] | None = None
    # It broke into the answer before: until when that was heard.
    broke_in: bool = False
    silent_s: float | None = None
    # Stretches of the agent's audio since the question, or of the answer that the caller interrupted.
    heard: list[tuple[float, float]] = field(default_factory=list)

    def hears(self, first_s: float, last_s: float) -> None:
        """Sound up to 300 ms apart is one stretch, as in a recording."""
        if self.heard and first_s - self.heard[-1][1] < MERGE_S:
            self.heard[-1] = self.heard[-1][0], max(self.heard[-1][1], last_s)
        else:
            self.heard.append((first_s, last_s))

    @property
    def last_s(self) -> float:
        """Until when it went, when the next question breaks into its answer."""
        return max([self.end_s, *(last for _, last in self.heard)])

    def troubles(self, until_s: float) -> Troubles:
        """Find the turn's troubles up to `until_s`, as in a recording; times in ms from the start of the turn."""
        zero_s = min([self.began_s, *(first for first, _ in self.heard)])
        said, *agent = (
            Segment(round((first - zero_s) * 1000), round((last - zero_s) * 1000))
            for first, last in [(self.began_s, self.end_s), *self.heard]
        )
        return find_troubles(Sounds([said], agent, round((until_s - zero_s) * 1000), 1000), DEAD_AIR_S)


@dataclass(slots=True)
class Caller:
    """`row` gets each turn as it ends. Give `tick` every 20 ms what the time is and when the tick was due."""

    number: int
    lines: Lines
    manner: Manner
    turns: int
    timeout_s: float
    row: Callable[[TurnRow], None]
    zero_s: float
    _draw: random.Random = field(init=False)
    _phase: _Phase = field(init=False, default=_Phase.CONNECTING)
    _at: int = field(init=False, default=0)
    _idle: int = field(init=False, default=0)
    _asked: _Asked | None = field(init=False, default=None)
    _before: _Asked | None = field(init=False, default=None)
    _number: int = field(init=False, default=0)
    _ready_s: float = field(init=False, default=0.0)
    _audible_s: float = field(init=False, default=0.0)
    # An answer that was given up may still come: until then, or until it is reported, nothing else is asked.
    _owed_until_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.number)

    @property
    def done(self) -> bool:
        return self._phase is _Phase.DONE

    def session_began(self, now_s: float) -> None:
        """The server has answered: a greeting may follow."""
        if self._phase is _Phase.CONNECTING:
            self._phase, self._ready_s = _Phase.WAITING, now_s + GREETING_S

    def tick(self, due_s: float, now_s: float) -> bytes:
        """The frame that is sent for the 20 ms which are over at `due_s`."""
        match self._phase:
            case _Phase.WAITING if now_s >= max(self._ready_s, self._owed_until_s, self._audible_s + QUIET_S):
                self._begin(due_s)
            case _Phase.LISTENING:
                self._listen(due_s, now_s)
        if self._phase is _Phase.SPEAKING and self._asked:
            return self._speak(self._asked, due_s, now_s)
        self._idle += 1
        return self.lines.idle[self._idle % len(self.lines.idle)]

    def hears(self, first_s: float, last_s: float) -> None:
        """Audible sound of the agent came, from `first_s` to `last_s`."""
        self._audible_s = max(self._audible_s, last_s)
        asked = self._asked
        if asked is None:
            return
        asked.hears(first_s, last_s)
        if asked.broke_in and asked.began_s <= first_s < asked.end_s:
            asked.silent_s = last_s  # the answer before, which the caller breaks into
        elif first_s < asked.end_s:
            asked.early = asked.early or first_s >= asked.began_s
        elif asked.first_s is None:
            asked.first_s = first_s

    def told(self, turn: dict[str, Any]) -> None:
        """The server reports on a turn."""
        before, asked = self._before, self._asked
        self._owed_until_s = 0.0
        if before:
            self._before = None
            its_own = turn.get("outcome") == "interrupted" or self._phase is _Phase.SPEAKING
            before.report = turn if its_own else None
            self._close(before, Outcome.INTERRUPTED, before.last_s)
            if before.report is not None:
                return
        if asked and asked.report is None:
            asked.report = turn

    def broken(self, outcome: Outcome, error: str, now_s: float) -> None:
        """The line is gone: every turn that this caller has not had counts as such."""
        if self._before:
            self._close(self._before, Outcome.INTERRUPTED, self._before.last_s)
            self._before = None
        if self._asked:
            self._close(self._asked, outcome, now_s, error)
            self._asked = None
        while self._number < self.turns:
            self._number += 1
            name = self._next(self.lines.plain, self._number - 1).name
            self.row(TurnRow(self.number, self._number, name, outcome, now_s - self.zero_s, None, None, "", 0.0, error))
        self._phase = _Phase.DONE

    @staticmethod
    def _next(lines: Sequence[Question], number: int) -> Question:
        """In the set's order: a question may refer to the one before."""
        return lines[number % len(lines)]

    def _begin(self, due_s: float, *, broke_in: bool = False) -> _Asked:
        lines = self.lines.paused if self._draw.random() < self.manner.pause_share else self.lines.plain
        question = self._next(lines, self._number)
        began_s = due_s - TICK_S
        self._number += 1
        end_s = began_s + question.speech_end_s
        asked = self._asked = _Asked(question, began_s, end_s, self._number, broke_in=broke_in)
        self._phase, self._at = _Phase.SPEAKING, 0
        return asked

    def _speak(self, asked: _Asked, due_s: float, now_s: float) -> bytes:
        frame = asked.question.frames[self._at]
        self._at += 1
        asked.late_s = max(asked.late_s, now_s - due_s)
        if self._at == len(asked.question.frames):
            self._phase = _Phase.LISTENING
        return frame

    def _listen(self, due_s: float, now_s: float) -> None:
        asked = self._asked
        if asked is None:
            return
        last = self._number == self.turns
        heard_s = now_s - asked.first_s if asked.first_s is not None else 0.0
        breaks_in = not last and heard_s >= self.manner.barge_in_at_s and self._breaks_in()
        if breaks_in and now_s - self._audible_s < QUIET_S:
            self._before = asked
            self._begin(due_s, broke_in=True).heard += asked.heard
            return
        quiet = now_s - max(self._audible_s, asked.end_s) >= QUIET_S
        unreported = asked.report is None and now_s - self._audible_s < REPORT_S
        gave_up = asked.first_s is None and now_s - asked.end_s >= self.timeout_s
        endless = now_s - asked.end_s >= self.timeout_s + LONGEST_ANSWER_S
        spoken = quiet and not unreported and (asked.report is not None or asked.first_s is not None)
        if spoken or gave_up or endless:
            if gave_up and asked.report is None:
                self._owed_until_s = now_s + max(self.timeout_s, LATE_S)
            self._over(asked, now_s, last=last)

    def _breaks_in(self) -> bool:
        """Drawn once for each turn, at whatever tick that is asked."""
        return random.Random(f"{self.number}/{self._number}").random() < self.manner.barge_in_share

    def _over(self, asked: _Asked, now_s: float, *, last: bool) -> None:
        self._close(asked, Outcome.ANSWERED, now_s)
        self._asked = None
        self._phase = _Phase.DONE if last else _Phase.WAITING
        self._ready_s = now_s + self.manner.think_s

    def _close(self, asked: _Asked, outcome: Outcome, until_s: float, error: str = "") -> None:
        report = asked.report or {}
        heard = str(report.get("heard") or "")
        if outcome in (Outcome.ANSWERED, Outcome.INTERRUPTED):
            outcome, error = self._judged(asked, outcome, heard, report)
        good = outcome in (Outcome.ANSWERED, Outcome.INTERRUPTED)
        v2v_s = asked.first_s - asked.end_s if good and asked.first_s is not None else None
        barge_in_s = asked.silent_s - asked.began_s if asked.broke_in and asked.silent_s is not None else None
        troubles = asked.troubles(until_s)
        self.row(
            TurnRow(
                caller=self.number,
                number=asked.number,
                question=asked.question.name,
                outcome=outcome,
                at_s=asked.end_s - self.zero_s,
                v2v_ms=None if v2v_s is None else round(v2v_s * 1000, 3),
                barge_in_ms=None if barge_in_s is None else round(barge_in_s * 1000, 3),
                heard=heard,
                late_ms=round(asked.late_s * 1000, 3),
                error=error,
                server={key: report.get(key) for key in SERVER_KEYS} if report else None,
                troubles=tuple(kind.value for kind in troubles.kinds),
                dead_air_s=troubles.dead_air_total_s,
            )
        )

    def _judged(self, asked: _Asked, outcome: Outcome, heard: str, report: dict[str, Any]) -> tuple[Outcome, str]:
        if asked.early:
            return Outcome.EARLY, "the agent spoke before the caller had finished"
        failed = report.get("outcome") in ("failed", "unanswered")  # it may have said sorry
        if failed or asked.first_s is None or asked.first_s - asked.end_s > self.timeout_s:
            return Outcome.UNANSWERED, str(report.get("error") or "")
        if outcome is Outcome.ANSWERED and (
            complaint := self.lines.judge.complaint(asked.question, heard, str(report.get("answered") or ""))
        ):
            return Outcome.WRONG, complaint
        return outcome, ""


# What is kept of the server's report.
SERVER_KEYS = ("outcome", "v2v_ms", "stages", "trace_id", "llm_calls", "slowed_by")
