"""The scheduler: one thread that evaluates, in each step, a token of every answer and a piece of one prompt."""

import logging
import time
from collections.abc import Callable, Sequence

from antiphon_runtime.errors import BackendFailed, Unavailable
from antiphon_runtime.stepping import Delivery, Stepper

from ...grants import Allowance
from .. import Reason
from .context import Context, Row
from .job import Job, Listener, Request
from .memory import Memory
from .sampler import Sampler
from .settings import LlamaCppSettings
from .weights import Weights

log = logging.getLogger(__name__)


class Engine(Stepper):
    """Turns over one model. All but the thread's own part is called on one event loop; nothing waits for the thread.

    Of several prompts the one with the least left goes first. A turn that rests costs nothing: it is not stepped.
    """

    def __init__(self, own: LlamaCppSettings, weights: Weights, slots: int) -> None:
        """Raises ConfigError when the slots cannot be had."""
        super().__init__()
        self.weights = weights
        self.context = Context(weights, slots, own)
        self._memory = Memory(self.context, slots)
        self._own = own
        self._live: list[Job] = []
        self._gone: list[Job] = []
        self.evaluated = self.generated = 0

    def start(self, openings: Sequence[bytes]) -> None:
        """Starts the thread, which evaluates and keeps the openings. Blocks until it has. Raises what that raised."""
        self._start("llamacpp", lambda: self._warm(openings), self._work)

    def attach(self, on_lost: Callable[[], None]) -> None:
        """Says whom to tell, on this event loop, when the engine has failed."""
        self._tell_on_this_loop(on_lost)

    def close(self) -> None:
        super().close()
        self.context.close()
        self.weights.close()

    @property
    def idle(self) -> bool:
        """Whether the thread has nothing to do, nor to clean up."""
        return not (self._live or self._gone)

    def ask(self, request: Request, listener: Listener, allowance: Allowance | None) -> Job:
        """Begins a turn, whose slot nobody else uses. Without an allowance it is bounded only by its most tokens.

        Raises Unavailable when the engine has failed.
        """
        with self._lock:
            if self._lost:
                raise _gone()
            self._tell_on_this_loop()
            job = Job(request, listener, allowance or Allowance(request.max_tokens))
            self._live.append(job)
            self._lock.notify()
            return job

    def go_on(self, job: Job, allowance: Allowance) -> None:
        """Lets a turn that rests go on."""
        with self._lock:
            job.allowance = allowance
            self._lock.notify()

    def release(self, job: Job) -> None:
        """Ends a turn: a step that still runs for it is nobody's."""
        with self._lock:
            if job in self._live:
                self._drop(job)
                self._lock.notify()

    def _drop(self, job: Job) -> None:
        self._live.remove(job)
        self._gone.append(job)

    def _warm(self, openings: Sequence[bytes]) -> None:
        """Keeps the openings, and runs the model, so that its first turn is not slower than others."""
        for text in openings or (b"Hello",):
            plan = self._memory.begin(0, text, b"")
            while plan.pending:
                tokens = plan.pending[: self._own.n_batch]
                position = self._memory.position(0)
                self.context.evaluate([Row(0, token, position + n, False) for n, token in enumerate(tokens)])
                del plan.pending[: len(tokens)]
                self._memory.evaluated(0, tokens, plan)
            if openings:
                self._memory.keep(0, text)
            self._memory.clear(0)

    def _work(self) -> None:
        try:
            while (jobs := self._next()) is not None:
                self._step(jobs)
        except Exception:
            log.exception("the language model's engine has failed")
            self._lose()

    def _lose(self) -> None:
        """Every turn fails, no other is taken, and the process is told that its model is gone."""
        with self._lock:
            self._lost = True
            failed, self._live = self._live, []
        self._deliver([*(_failing(job) for job in failed), self._on_lost])

    def _next(self) -> list[Job] | None:
        """The turns to step; None at the end."""
        while True:
            with self._lock:
                gone, self._gone = self._gone, []
                ready = [job for job in self._live if job.allowance]
                if not (gone or ready or self._closing):
                    self._lock.wait()
                    continue
                closing = self._closing
                gone += self._live if closing else []
            for job in gone:
                if job.begun:
                    job.sampler.close()
            if closing:
                return None
            if begun := [job for job in ready if job.begun or self._begin(job)]:
                return begun

    def _begin(self, job: Job) -> bool:
        job.began_s = time.monotonic()
        request = job.request
        try:
            job.sampler = Sampler(
                self.context, request.sampling, request.seed, request.grammar, self._own.repeat_penalty
            )
        except BackendFailed as error:
            self._deliver(self._failed(job, error))
            return False
        job.plan = self._memory.begin(request.slot, request.text, request.opening)
        job.prompt_tokens, job.begun = job.plan.cached + len(job.plan.pending), True
        return True

    def _step(self, jobs: Sequence[Job]) -> None:
        """A token of every answer, and a part of the prompt that has the least left."""
        answering = [job for job in jobs if not job.reads]
        reading = min((job for job in jobs if job.reads), key=lambda job: len(job.plan.pending), default=None)
        if not self._own.batched:
            for job in answering:
                self._evaluate([job], None)
            answering = []
        elif reading and answering and not self.weights.can_go_back:
            # llama.cpp cuts a recurrent model's batch into equal lengths, a prompt thus by what is beside it.
            self._evaluate(answering, None)
            answering = []
        if answering or reading:
            self._evaluate(answering, reading)

    def _evaluate(self, answering: Sequence[Job], reading: Job | None) -> None:
        """Where this fails it is done for one by one, so that only who fails does."""
        rows = [Row(job.request.slot, job.next, self._memory.position(job.request.slot), True) for job in answering]
        part = self._next_part(reading) if reading else []
        rows += _rows(reading, part, self._memory) if reading else []
        try:
            self.context.evaluate(rows)
        except BackendFailed as error:
            self._retry([*answering, *([reading] if reading else [])], error)
            return
        self.evaluated += len(rows)
        for job in answering:
            self._memory.evaluated(job.request.slot, [job.next])
        told: list[Delivery] = []
        for number, job in enumerate(answering):
            told += self._chosen(job, number)
        if reading:
            del reading.plan.pending[: len(part)]
            self._memory.evaluated(reading.request.slot, part, reading.plan)
            if not reading.reads:
                told += self._chosen(reading, len(rows) - 1)
        self._deliver(told)

    def _retry(self, jobs: Sequence[Job], error: BackendFailed) -> None:
        if len(jobs) > 1:
            for job in jobs:
                self._step([job])
            return
        log.warning("a turn failed: %s", error)
        self._memory.clear(jobs[0].request.slot)
        self._deliver(self._failed(jobs[0], error))

    def _next_part(self, job: Job) -> list[int]:
        opening = job.plan.opening_tokens - self._memory.position(job.request.slot)
        return job.plan.pending[: min(self._own.n_batch, opening) if opening > 0 else self._own.n_batch]

    def _chosen(self, job: Job, row: int) -> list[Delivery]:
        """Chooses the turn's next token, and what is to be told of it."""
        with self._lock:
            allowance = job.allowance
            if job not in self._live or allowance is None:
                return []
        token = job.sampler.choose(row)
        now_s = time.monotonic()
        if self.weights.is_end(token):
            return self._finished(job, Reason.STOP, now_s)
        job.first_s = job.first_s or now_s
        job.next, job.output = token, job.output + 1
        self.generated += 1
        text = job.characters.decode(self.weights.piece(token))
        told: list[Delivery] = [lambda: job.listener.on_text(text, 1)]
        goes_on = allowance.spend(text)
        full = self._memory.position(job.request.slot) + 1 >= self.context.length
        if full or job.output >= job.request.max_tokens:
            return told + self._finished(job, Reason.LENGTH, now_s)
        return told if goes_on else told + self._rested(job, allowance.used)

    def _rested(self, job: Job, used: int) -> list[Delivery]:
        with self._lock:
            job.allowance = None
        return [lambda: job.listener.on_rested(used)]

    def _finished(self, job: Job, reason: Reason, now_s: float) -> list[Delivery]:
        ended, last = job.ended(reason, now_s), job.characters.decode(b"", True)
        return self._over(job, [lambda: job.listener.on_text(last, 0), lambda: job.listener.on_ended(ended)])

    def _failed(self, job: Job, error: Exception) -> list[Delivery]:
        return self._over(job, [lambda: job.listener.on_failure(error)])

    def _over(self, job: Job, told: list[Delivery]) -> list[Delivery]:
        with self._lock:
            if job not in self._live:
                return []
            self._drop(job)
        return told


def _gone() -> Unavailable:
    return Unavailable("the language model's engine has failed", reason="ENGINE_LOST")


def _failing(job: Job) -> Delivery:
    return lambda: job.listener.on_failure(_gone())


def _rows(job: Job, part: Sequence[int], memory: Memory) -> list[Row]:
    slot, ends = job.request.slot, len(part) == len(job.plan.pending)
    first, last = memory.position(slot), len(part) - 1
    return [Row(slot, token, first + n, ends and n == last) for n, token in enumerate(part)]
