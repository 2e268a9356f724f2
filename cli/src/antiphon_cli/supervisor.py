"""Runs the platform's processes: started together, watched, started again when one dies, stopped together."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from antiphon_runtime.errors import ConfigError

from .platform import Plan, Process

Say = Callable[[str, str], None]

START_S = 120.0
STOP_S = 6.0
# A process that dies this often within the window is left dead, and the platform stops.
MAX_DEATHS = 5
DEATHS_WINDOW_S = 60.0


class Died(ConfigError):
    """A process ended by itself. The message holds its last words."""


class _Running:
    """One process of the platform. `say(name, line)` gets its output, line by line."""

    def __init__(self, process: Process, say: Say) -> None:
        self.process = process
        self._say = say
        self._child: asyncio.subprocess.Process | None = None
        self._last_lines: list[str] = []

    async def start(self) -> None:
        self._child = await asyncio.create_subprocess_exec(
            *(self.process.python or sys.executable, "-m", self.process.module),
            env=dict(self.process.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
            # Ctrl-C reaches us alone, and we tell them in order.
            start_new_session=True,
        )

    async def watch(self) -> str:
        """Passes on what the process says until it ends, and gives its last words."""
        assert self._child and self._child.stdout
        async for line in self._child.stdout:
            text = line.decode(errors="replace").rstrip()
            self._last_lines = [*self._last_lines[-4:], text]
            self._say(self.process.name, text)
        code = await self._child.wait()
        words = " / ".join(self._last_lines[-2:])
        return f"{self.process.name} ended with {code}: {words}"

    def tell(self, signum: int) -> None:
        if self._child and self._child.returncode is None:
            self._child.send_signal(signum)

    async def gone(self) -> None:
        if self._child:
            await self._child.wait()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None


@asynccontextmanager
async def running(plan: Plan, say: Say) -> AsyncIterator[dict[str, int]]:
    """The platform, ready, with each process's id. Everything has ended when the context has.

    Raises Died when a process cannot start, or dies again and again.
    """
    with TemporaryDirectory(prefix="antiphon-") as folder:
        async with supervised(plan.processes(plan.write_warm_prompt(Path(folder))), say) as pids:
            yield pids


@asynccontextmanager
async def supervised(processes: Sequence[Process], say: Say, start_s: float = START_S) -> AsyncIterator[dict[str, int]]:
    """The processes, ready, with their ids. They have ended when the context has: the last first, then the others.

    Raises Died when one cannot start within `start_s`, or dies again and again.
    """
    members = [_Running(process, say) for process in processes]
    try:
        async with _raising_first_cause(), asyncio.TaskGroup() as tasks:
            ready = [asyncio.Event() for _ in members]
            keeping = [tasks.create_task(_keep(one, up)) for one, up in zip(members, ready, strict=True)]
            try:
                await _all_ready(members, ready, start_s)
                yield {one.process.name: one.pid or 0 for one in members}
            finally:
                for task in keeping:
                    task.cancel()
    finally:
        await asyncio.shield(_stop(members))


async def _all_ready(members: list[_Running], ready: list[asyncio.Event], start_s: float) -> None:
    try:
        async with asyncio.timeout(start_s):
            for event in ready:
                await event.wait()
    except TimeoutError:
        slow = [one.process.name for one, up in zip(members, ready, strict=True) if not up.is_set()]
        raise Died(f"{', '.join(slow)} not ready within {start_s:.0f} s") from None


async def _keep(one: _Running, ready: asyncio.Event) -> None:
    """Starts the process, and again when it dies after it was ready."""
    deaths: list[float] = []
    while True:
        started = time.monotonic()
        await one.start()
        watching = asyncio.create_task(one.watch(), name=f"watch {one.process.name}")
        waiting = asyncio.create_task(_healthy(one.process), name=f"health {one.process.name}")
        try:
            await asyncio.wait((watching, waiting), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                raise Died(watching.result())
            one._say(one.process.name, f"ready after {time.monotonic() - started:.1f} s")
            ready.set()
            last_words = await watching
        finally:
            for task in (watching, waiting):
                task.cancel()
            await asyncio.gather(watching, waiting, return_exceptions=True)
        now = time.monotonic()
        deaths = [at for at in deaths if now - at < DEATHS_WINDOW_S] + [now]
        if len(deaths) >= MAX_DEATHS:
            raise Died(f"{last_words}; it died {len(deaths)} times within {DEATHS_WINDOW_S:.0f} s")
        one._say(one.process.name, f"{last_words}: starting it again")


async def _healthy(process: Process) -> None:
    """Returns once the process says that it is ready. It may have to be dialled more than once."""
    ready = _serving if process.health else _listening
    while True:
        if await ready(process):
            return
        await asyncio.sleep(0.1)


async def _serving(process: Process) -> bool:
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
    async with grpc.aio.insecure_channel(process.bind, options=options) as channel:
        request = health_pb2.HealthCheckRequest(service=process.health)
        with suppress(grpc.aio.AioRpcError):
            async for update in health_pb2_grpc.HealthStub(channel).Watch(request, wait_for_ready=True):
                if update.status == health_pb2.HealthCheckResponse.SERVING:
                    return True
    return False


async def _listening(process: Process) -> bool:
    host, _, port = process.bind.rpartition(":")
    with suppress(OSError):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        return True
    return False


async def _stop(members: list[_Running]) -> None:
    """The last first, the orchestrator, so that calls end before what they use; then the rest. The slow are killed."""
    for group in (members[-1:], members[:-1]):
        for one in group:
            one.tell(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*(one.gone() for one in group))
        except TimeoutError:
            for one in group:
                one.tell(signal.SIGKILL)
            await asyncio.gather(*(one.gone() for one in group))


@asynccontextmanager
async def _raising_first_cause() -> AsyncIterator[None]:
    try:
        yield
    except BaseExceptionGroup as group:
        died = group.subgroup(Died)
        while isinstance(died, BaseExceptionGroup):
            died = died.exceptions[0]  # type: ignore[assignment]
        # What happened in the context's body comes out as it was.
        first = died or (group.exceptions[0] if len(group.exceptions) == 1 else group)
        raise first from first.__cause__


@asynccontextmanager
async def until_signalled() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, for as long as the context lasts."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stopped.set)
            stack.callback(loop.remove_signal_handler, signum)
        yield stopped
