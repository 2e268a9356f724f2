"""antiphon-orchestrator: serves until SIGTERM or SIGINT."""

import asyncio
import logging
import sys

import uvicorn
from loguru import logger
from prometheus_client import CollectorRegistry
from uvicorn.loops.auto import auto_loop_factory

from antiphon_runtime.auth import Verifier, read_secret
from antiphon_runtime.errors import ConfigError
from antiphon_runtime.logs import set_up_logging
from antiphon_runtime.metrics import metrics_endpoint
from antiphon_runtime.settings import is_loopback, read_settings

from .agents import Agents
from .backends import connected
from .gate import AUDIENCE, Gate
from .metrics import Metrics
from .sessions import Sessions
from .settings import Settings
from .web import create_app
from .wire import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Serves until a signal comes. Raises ConfigError when something is not configured as it must be."""
    agents = Agents.load(settings.agents_file)
    registry = CollectorRegistry()
    secret = settings.session_secret_file
    gate = Gate(
        Verifier(read_secret(secret), AUDIENCE) if secret else None,
        settings.allowed_origins,
        loopback_only=is_loopback(settings.bind),
    )
    host, _, port = settings.bind.rpartition(":")
    with metrics_endpoint(settings.metrics_bind, registry):
        async with connected(settings) as backends:
            sessions = Sessions(
                backends,
                agents,
                Metrics.register(registry),
                limit=settings.max_sessions,
                record_dir=settings.record_dir,
            )
            config = uvicorn.Config(
                create_app(settings, sessions, gate),
                host=host.strip("[]"),
                port=int(port),
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=3,
                ws_max_size=MAX_MESSAGE_BYTES,
            )
            await uvicorn.Server(config).serve()


def quiet_pipecat(level: str, *, log_text: bool) -> None:
    """Pipecat's own log joins ours; its DEBUG lines quote the conversation, so they need `log_text`."""
    logger.remove()
    threshold = level if log_text or level != "DEBUG" else "INFO"
    pipecat_log = logging.getLogger("pipecat")
    logger.add(lambda line: pipecat_log.log(line.record["level"].no, line.record["message"]), level=threshold)


def main() -> None:
    try:
        settings = read_settings(Settings)
        set_up_logging(settings.log_format, settings.log_level)
        quiet_pipecat(settings.log_level, log_text=settings.log_text)
        with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:  # uvloop, where there is one
            runner.run(serve(settings))
    except ConfigError as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
