"""Assembly of a server process: the pools, the sessions and the app over them."""

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI
from loguru import logger
from prometheus_client import CollectorRegistry

from antiphon_runtime.auth import Verifier, read_secret
from antiphon_runtime.metrics import metrics_endpoint
from antiphon_runtime.settings import is_loopback

from .agents import Agents
from .backends import connected
from .gate import AUDIENCE, Gate
from .loop_lag import loop_lag_observed
from .metrics import Metrics
from .records.folder import check_folder
from .sessions import Sessions
from .settings import Settings
from .web import create_app
from .wire import MAX_MESSAGE_BYTES
from .workers.places import Places

# Of the process, in traces.
NAME = "antiphon-orchestrator"


@dataclass(frozen=True, slots=True)
class Assembled:
    """The app of a process, and the conversations that it serves."""

    app: FastAPI
    sessions: Sessions


@asynccontextmanager
async def assembled(settings: Settings, places: Places, worker: int | None = None) -> AsyncIterator[Assembled]:
    """The app of this process, `worker` being its number when there are several.

    Raises ConfigError when something is not configured as it must be.
    """
    agents = Agents.load(settings.agents_file)
    if settings.record_dir:
        check_folder(settings.record_dir)
    registry = CollectorRegistry()
    secret = settings.session_secret_file
    gate = Gate(
        Verifier(read_secret(secret), AUDIENCE) if secret else None,
        settings.allowed_origins,
        loopback_only=is_loopback(settings.bind),
    )
    with metrics_endpoint(_metrics_bind(settings.metrics_bind, worker), registry):
        metrics = Metrics.register(registry)
        async with connected(settings) as backends, loop_lag_observed(metrics.loop_lag):
            sessions = Sessions(
                backends,
                agents,
                metrics,
                places=places,
                record_dir=settings.record_dir,
                record_format=settings.record_format,
                id_prefix="" if worker is None else f"{worker}-",
                trace_text=settings.log_text,
            )
            app = create_app(settings, sessions, gate)
            spare_lasting_objects()
            yield Assembled(app, sessions)


def spare_lasting_objects() -> None:
    """Exempt all objects that exist now from garbage collection, for a process that has started and will serve.

    They last as long as it does; a full collection that walks them stops every call for some 20 ms.
    """
    gc.collect()
    gc.freeze()


def _metrics_bind(bind: str, worker: int | None) -> str:
    """Each worker has a port of its own, from the given one on."""
    if not bind or worker is None:
        return bind
    host, _, port = bind.rpartition(":")
    return f"{host}:{int(port) + worker}"


def server_config(app: Any, settings: Settings, **options: Any) -> uvicorn.Config:
    """Return the configuration of the HTTP server."""
    host, _, port = settings.bind.rpartition(":")
    return uvicorn.Config(
        app,
        host=host.strip("[]"),
        port=int(port),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
        ws_max_size=MAX_MESSAGE_BYTES,
        **options,
    )


def quiet_pipecat(level: str, *, log_text: bool) -> None:
    """Pipecat's own log joins ours; its DEBUG lines quote the conversation, so they need `log_text`."""
    logger.remove()
    threshold = level if log_text or level != "DEBUG" else "INFO"
    pipecat_log = logging.getLogger("pipecat")
    logger.add(lambda line: pipecat_log.log(line.record["level"].no, line.record["message"]), level=threshold)
