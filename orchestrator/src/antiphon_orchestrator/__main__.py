"""antiphon-orchestrator: serves until SIGTERM or SIGINT."""

import asyncio
import signal
import sys

from uvicorn.loops.auto import auto_loop_factory

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.logs import set_up_logging
from antiphon_runtime.settings import read_settings
from antiphon_runtime.tracing import tracing

from .agents import Agents
from .draining import DrainingServer
from .records.folder import check_folder
from .serving import NAME, assembled, quiet_pipecat, server_config
from .settings import Settings
from .workers.app import run
from .workers.places import Places


async def serve(settings: Settings) -> None:
    """Serves until a signal comes. Raises ConfigError when something is not configured as it must be."""
    async with assembled(settings, Places(settings.max_sessions)) as at:
        await DrainingServer(server_config(at.app, settings), at.sessions, settings.drain_s, settings.grace_s).serve()


def main() -> None:
    # uvicorn stops first, and then passes the signal on: what was opened around it is still closed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = read_settings(Settings)
        set_up_logging(settings.log_format, settings.log_level)
        quiet_pipecat(settings.log_level, log_text=settings.log_text)
        if settings.workers > 1:
            Agents.load(settings.agents_file)  # a mistake is told once, here
            if settings.record_dir:
                check_folder(settings.record_dir)
            run(settings)
            return
        with (
            tracing(NAME, settings.otlp_url),
            asyncio.Runner(loop_factory=auto_loop_factory()) as runner,
        ):  # uvloop, where there is one
            runner.run(serve(settings))
    except ConfigError as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
