"""One call's share in the metrics of the process. A fault here is contained: the call does not depend on it."""

from .containment import Containment
from .metrics import Metrics
from .timeline import Turn
from .trouble import Trouble
from .usual import Usual


class CallMetrics:
    """The process's metrics, as one call counts in them."""

    def __init__(self, metrics: Metrics, usual: Usual, containment: Containment) -> None:
        """`usual` knows the recent turns of all calls of the process."""
        self._metrics = metrics
        self._usual = usual
        self._containment = containment

    def turn(self, turn: Turn) -> None:
        """Explain and count a turn that is over."""
        with self._containment.contained("metrics"):
            self._usual.explain(turn)
        with self._containment.contained("metrics"):
            self._metrics.observe(turn)
            if turn.outcome == "failed" and turn.first_audio_ns is not None:
                self.trouble(Trouble.BROKEN_OFF)

    def trouble(self, kind: Trouble) -> None:
        """The caller suffered what no latency shows."""
        with self._containment.contained("metrics"):
            self._metrics.trouble.labels(kind.value).inc()

    def empty_utterance(self) -> None:
        with self._containment.contained("metrics"):
            self._metrics.empty.inc()

    def underruns(self, count: int) -> None:
        """Gaps in the agent's speech that the caller's player reported."""
        with self._containment.contained("metrics"):
            self._metrics.underruns.inc(count)

    def message_refused(self, reason: str) -> None:
        """A message of the caller's was refused; `reason` is one of `refusals.MESSAGES`."""
        with self._containment.contained("metrics"):
            self._metrics.messages_refused.labels(reason).inc()

    def audio_refused(self, reason: str) -> None:
        """A frame of audio was refused; `reason` is one of `refusals.AUDIO`."""
        with self._containment.contained("metrics"):
            self._metrics.audio_refused.labels(reason).inc()

    def audio_gap(self, seconds: float) -> None:
        """Silence was put in the place of audio that did not come."""
        with self._containment.contained("metrics"):
            self._metrics.audio_gap.inc(seconds)

    def audio_dropped(self, seconds: float) -> None:
        """Audio came too late to be heard."""
        with self._containment.contained("metrics"):
            self._metrics.audio_dropped.inc(seconds)
