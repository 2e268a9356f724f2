"""One worker, as uvicorn starts it; and how they are all started."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.supervisors import Multiprocess

from antiphon_runtime.logs import set_up_logging
from antiphon_runtime.settings import read_settings
from antiphon_runtime.tracing import tracing

from ..serving import NAME, assembled, quiet_pipecat, server_config
from ..settings import Settings
from .peers import Peers
from .places import SharedPlaces

# Where the parent tells its workers which folder they share.
FOLDER = "_ANTIPHON_ORCHESTRATOR_WORKERS"


def run(settings: Settings) -> None:
    """Serves with `settings.workers` processes until a signal comes. One that dies is started again."""
    with TemporaryDirectory(prefix="antiphon-workers-") as folder:
        os.environ[FOLDER] = folder
        config = server_config("antiphon_orchestrator.workers.app:worker", settings, factory=True)
        config.workers = settings.workers
        listener = config.bind_socket()
        try:
            Multiprocess(config, [listener]).run()
        finally:
            listener.close()


def worker() -> ASGIApp:
    """The app of this process, which takes the lowest number that no living worker has."""
    settings, folder = read_settings(Settings), Path(os.environ[FOLDER])
    set_up_logging(settings.log_format, settings.log_level)
    quiet_pipecat(settings.log_level, log_text=settings.log_text)
    inner: list[ASGIApp] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.enter_context(tracing(NAME, settings.otlp_url))
            # Twice as many as workers: one may be started before the one that it replaces has ended.
            numbers = SharedPlaces(2 * settings.workers, folder / "workers")
            stack.callback(numbers.close)
            number = numbers.take()
            if number is None:
                raise RuntimeError(f"all {numbers.count} numbers of workers are taken")
            places = SharedPlaces(settings.max_sessions, folder / "sessions")
            stack.callback(places.close)
            app = (await stack.enter_async_context(assembled(settings, places, worker=number))).app
            peers = Peers(folder, number)
            await stack.enter_async_context(app.router.lifespan_context(app))
            await stack.enter_async_context(peers.listening(app))
            inner.append(peers.app(app))
            yield

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        await inner[0](scope, receive, send)

    outer = Starlette(lifespan=lifespan)
    outer.mount("", routed)
    return outer
