"""The model's one thread: a step for all streams that need one, then sound for those whose window is full."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from antiphon_runtime.errors import BackendFailed, Unavailable
from antiphon_runtime.stepping import Delivery, RealTimeFactor, Stepper

from .. import Mode
from .metrics import EngineMetrics
from .prompt import Prompt, Stepped
from .request import Listener, Request, Samples, Sound
from .schedule import Limits, Turn, choose
from .vocoder import Window
from .windows import Pace, window

if TYPE_CHECKING:
    from .model import SlotModel
    from .vocoder import Vocoder

log = logging.getLogger(__name__)

T = TypeVar("T")
# How much of the pace is that of the latest step or window.
LATEST = 0.2


class Engine(Stepper):
    """Generations over one model on one device.

    All but the thread's own part is called on one event loop; nothing waits for the device. A generation's sounds are
    bounded by its prompt, and a stream asks for one generation at a time.
    """

    def __init__(
        self,
        model: "SlotModel",
        vocoder: "Vocoder",
        limits: Limits,
        *,
        first_frames: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.model = model
        self.vocoder = vocoder
        self.slots = model.slots.count
        self.frame_s = vocoder.samples / vocoder.rate_hz
        self._limits = limits
        self._first_frames = first_frames
        self._clock = clock
        self._free = list(range(self.slots))[::-1]
        self._waiting: list[Request] = []
        self._live: list[Request] = []
        # Of a frame of all streams, and of a frame of one stream's sound: measured as they are made.
        self._step_s = self._sound_s = 0.0
        self._factor = RealTimeFactor()
        self._metrics: EngineMetrics | None = None

    @property
    def free_slots(self) -> int:
        return len(self._free)

    def start(self, warm: "Callable[[SlotModel, Vocoder], None]") -> None:
        """Starts the thread, has it `warm` the model, and returns when it has. Raises what that raised."""
        self._start("tts engine", lambda: warm(self.model, self.vocoder), self._work_on)

    def attach(self, metrics: EngineMetrics, on_lost: Callable[[], None]) -> None:
        """Tells where to count, and whom to tell on this event loop when the device is gone."""
        self._tell_on_this_loop(on_lost)
        self._metrics = metrics

    def ask(self, prompt: Prompt, mode: Mode, deadline_s: float, listener: Listener) -> Request:
        """Has the prompt spoken. Raises Unavailable when the device is lost."""
        with self._lock:
            if self._lost:
                raise Unavailable("the synthesizer's device is lost", reason="DEVICE_LOST")
            self._tell_on_this_loop()
            request = Request(prompt, mode, deadline_s, listener)
            self._waiting.append(request)
            self._lock.notify()
            return request

    def release(self, request: Request) -> None:
        """Ends a generation and frees its slot at once: a step that still runs for it is nobody's."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
            elif request in self._live:
                self._drop(request)
                self._waste(request.frames - request.heard)
                self._lock.notify()  # for who waits for a slot

    def _work_on(self) -> None:
        try:
            while (turn := self._next()) is not None:
                self._run(turn)
        except Exception:
            log.exception("the synthesizer's engine has failed")
            self._lose()

    def _next(self) -> Turn | None:
        """What to do next; None at the end."""
        with self._lock:
            while not self._closing:
                live = [request for request in self._live if not request.ended]
                now_s, free = self._clock(), len(self._free)
                turn = choose(self._waiting, live, free, self._limits, now_s=now_s, frame_s=self.frame_s)
                if turn.newcomers:
                    self._admit(turn.newcomers, now_s)
                if turn.newcomers or turn.rows:
                    return turn
                self._lock.wait()
            return None

    def _admit(self, newcomers: Sequence[Request], now_s: float) -> None:
        for request in newcomers:
            request.slot, request.began_s = self._free.pop(), now_s
            self._waiting.remove(request)
            self._live.append(request)

    def _run(self, turn: Turn) -> None:
        began_s = self._clock()
        kind, work = ("prefill", self._prefill) if turn.newcomers else ("step", self._step)
        rows = turn.newcomers or turn.rows
        results = self._each(kind, work, rows)
        if kind == "step":
            self._step_s = _latest(self._step_s, (self._clock() - began_s) / self.model.frames_per_step)
        for request, stepped in results:
            self._moved(request, stepped)
        due = [(request, frames) for request, _ in results if (frames := self._due(request)) is not None]
        new = [pair for pair in due if pair[0].is_new]
        # A first window is not kept waiting for the others' sound.
        self._sound(new)
        self._sound([pair for pair in due if pair not in new])
        ended_s = self._clock()
        audio_s = len(results) * self.model.frames_per_step * self.frame_s
        factor = self._factor.add(ended_s, ended_s - began_s, audio_s)
        if self._metrics:
            self._metrics.real_time_factor.set(factor)

    def _prefill(self, requests: Sequence[Request]) -> list[Stepped]:
        return self.model.prefill([request.slot for request in requests], [request.prompt for request in requests])

    def _step(self, requests: Sequence[Request]) -> list[Stepped]:
        positions = self.model.positions(max(request.steps for request in requests))
        tokens = max(len(request.prompt.tokens) for request in requests)
        return self.model.step([request.slot for request in requests], positions, tokens)

    def _each(
        self, kind: str, work: Callable[[Sequence[Request]], list[T]], requests: Sequence[Request]
    ) -> list[tuple[Request, T]]:
        """The work's result for each request. Where it fails it is done one by one, so that only who fails does."""
        began_s = self._clock()
        try:
            results = work(requests)
        except Exception as error:
            if self.model.is_lost(error):
                raise
            if len(requests) == 1:
                log.warning("a %s failed", kind, exc_info=error)
                self._fail(requests[0], error)
                return []
            return [pair for request in requests for pair in self._each(kind, work, [request])]
        if self._metrics:
            self._metrics.step_seconds.labels(kind).observe(self._clock() - began_s)
            self._metrics.batch_size.labels(kind).observe(len(requests))
        return list(zip(requests, results, strict=True))

    def _moved(self, request: Request, stepped: Stepped) -> None:
        before = request.frames
        request.stepped(stepped.attended, stepped.frames, self.model.frames_per_step, self.model.slots.shape.steps)
        with self._lock:
            if request not in self._live:
                self._waste(request.frames - before)

    def _due(self, request: Request) -> int | None:
        """How many of its frames are to be made sound now, None: wait for more."""
        now_s = self._clock()
        ahead = 0 if request.ended else self.vocoder.field.ahead
        return window(
            request.mode,
            fresh=request.frames - request.heard - ahead,
            ended=request.ended,
            first=self._first_frames,
            lead_s=None if request.is_new else request.lead_s(now_s, self.frame_s, decoded=False),
            pace=Pace(self.frame_s, self._step_s, self._sound_s * len(self._live), self.vocoder.field.back),
        )

    def _sound(self, due: Sequence[tuple[Request, int]]) -> None:
        with self._lock:
            wanted = {request: frames for request, frames in due if request in self._live}
        if not wanted:
            return

        def vocode(requests: Sequence[Request]) -> list[Samples]:
            return self.vocoder.run([self._window(request, wanted[request]) for request in requests])

        began_s = self._clock()
        sounds = self._each("vocode", vocode, list(wanted))
        now_s = self._clock()
        back = self.vocoder.field.back
        made = sum(frames + min(request.heard, back) for request, frames in wanted.items())
        # Of a first window most of the time is not its frames'.
        if made >= back * len(wanted):
            self._sound_s = _latest(self._sound_s, (now_s - began_s) / max(1, made))
        with self._lock:
            told = [delivery for each in sounds for delivery in self._heard(*each, wanted[each[0]], now_s)]
        self._deliver(told)

    def _window(self, request: Request, frames: int) -> Window:
        ahead = 0 if request.ended else self.vocoder.field.ahead
        return Window(request.slot, request.heard, request.heard + frames, ahead)

    def _heard(self, request: Request, samples: Samples, frames: int, now_s: float) -> Iterator[Delivery]:
        if request not in self._live:
            return
        if not request.heard:
            request.heard_from_s = max(request.deadline_s, now_s)
        request.heard += frames
        last = request.ended
        if last:
            self._drop(request)
        sound = Sound(samples, tuple(request.attended[: request.heard]), request.began_s, last)
        yield lambda: request.listener.on_sound(sound)

    def _drop(self, request: Request) -> None:
        self._live.remove(request)
        self._free.append(request.slot)

    def _waste(self, frames: int) -> None:
        if self._metrics:
            self._metrics.wasted.inc(frames)

    def _fail(self, request: Request, error: Exception) -> None:
        with self._lock:
            if request not in self._live:
                return
            self._drop(request)
        if self._metrics:
            self._metrics.failed.inc()
        failure = BackendFailed(f"the model failed on this text: {type(error).__name__}")
        self._deliver([lambda: request.listener.on_failure(failure)])

    def _lose(self) -> None:
        """Every generation fails, no other is taken, and the process is told that its model is gone."""
        with self._lock:
            self._lost = True
            failed, self._waiting, self._live = [*self._waiting, *self._live], [], []
        gone = Unavailable("the synthesizer's device is lost", reason="DEVICE_LOST")
        self._deliver([*(_failing(request, gone) for request in failed), self._on_lost])


def _latest(before: float, now: float) -> float:
    """A mean that forgets; the first value as it is."""
    return before + LATEST * (now - before) if before else now


def _failing(request: Request, error: Unavailable) -> Delivery:
    return lambda: request.listener.on_failure(error)
