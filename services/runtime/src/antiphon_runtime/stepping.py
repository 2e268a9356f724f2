"""What engines share that step a model for many streams, on a thread of their own."""

import asyncio
import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

log = logging.getLogger(__name__)

Delivery = Callable[[], None]

# Of a batched step, in seconds, and of its size.
STEP_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.25, 0.5, 1.0, 2.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# The real-time factor is that of about the last minute.
MEMORY_S = 60.0


class RealTimeFactor:
    """Seconds of compute for each second of audio; what is past counts less, by e each MEMORY_S."""

    def __init__(self) -> None:
        self._compute_s = 0.0
        self._audio_s = 0.0
        self._at_s = 0.0

    def add(self, now_s: float, compute_s: float, audio_s: float) -> float:
        faded = math.exp((self._at_s - now_s) / MEMORY_S) if self._at_s else 0.0
        self._compute_s = self._compute_s * faded + compute_s
        self._audio_s = self._audio_s * faded + audio_s
        self._at_s = now_s
        return self._compute_s / self._audio_s if self._audio_s else 0.0


def started(name: str, warm: Callable[[], None], work: Callable[[], None]) -> threading.Thread:
    """A thread that warms its model up and then works. Returns once it is warm; raises what warming raised."""
    warmed: Future[None] = Future()

    def main() -> None:
        try:
            warm()
        except BaseException as error:
            warmed.set_exception(error)
            return
        warmed.set_result(None)
        work()

    thread = threading.Thread(target=main, name=name, daemon=True)
    thread.start()
    warmed.result()
    return thread


def deliver(loop: asyncio.AbstractEventLoop | None, deliveries: Sequence[Delivery]) -> None:
    """Has the deliveries made on the event loop, in order; one that fails does not keep the others back."""
    if not deliveries or loop is None:
        return

    def make() -> None:
        for delivery in deliveries:
            try:
                delivery()
            except Exception:  # the others' results must not go with it
                log.exception("a result could not be delivered")

    try:
        loop.call_soon_threadsafe(make)
    except RuntimeError:  # the loop has ended, and with it everybody who would be told
        log.debug("results came after the end of the event loop")


class Stepper:
    """What an engine and its thread share: the lock that both sides take, and whether there is still work to do.

    The thread waits on `_lock` while it has nothing to do, and ends once `_closing` is set. `_lost` is for an engine
    whose model is gone: it takes nothing more.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_lost: Delivery = lambda: None
        self._thread: threading.Thread | None = None
        self._closing = self._lost = False

    def close(self) -> None:
        """Waits for the step in progress; drops the rest."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        if self._thread:
            self._thread.join()

    def _start(self, name: str, warm: Callable[[], None], work: Callable[[], None]) -> None:
        """As `started`."""
        self._thread = started(name, warm, work)

    def _tell_on_this_loop(self, on_lost: Delivery | None = None) -> None:
        """Deliveries are made on the running event loop, `on_lost` when the model is gone."""
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost or self._on_lost

    def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        deliver(self._loop, deliveries)


def host_bytes() -> int:
    """Memory that can still be had on the host; half of it all where the kernel does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
