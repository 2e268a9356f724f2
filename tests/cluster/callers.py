"""Runs in a pod: calls that last, calls that begin again and again, and streams straight at the services.

Until the file /tmp/stop is there, or for LONGEST_S. Then it prints one line of JSON: the outcomes of the calls' turns
and of the streams, with what went wrong.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from antiphon.asr.v1 import asr_pb2
from antiphon.common.v1 import audio_pb2
from antiphon.llm.v1 import llm_pb2
from antiphon.tts.v1 import tts_pb2
from antiphon.turn.v1 import turn_pb2
from antiphon_bench import questions
from antiphon_bench.caller import place_call
from antiphon_bench.errors import CallError
from antiphon_orchestrator.backends import connected
from antiphon_orchestrator.gate import AUDIENCE
from antiphon_orchestrator.settings import Settings
from antiphon_runtime.auth import Issuer, read_secret

LONGEST_S = 240.0
LASTING_CALLS, CALL_EVERY_S, STREAM_EVERY_S = 4, 5.0, 0.25
STOP = Path("/tmp/stop")
RELEASE = os.environ["RELEASE"]
TOKENS = Issuer(read_secret(Path("/etc/antiphon/tokens/session")), AUDIENCE)
PCM = audio_pb2.AUDIO_ENCODING_PCM_S16LE
FIRST: dict[str, Callable[[], Any]] = {
    "asr": lambda: asr_pb2.TranscribeRequest(
        config=asr_pb2.TranscribeConfig(audio=audio_pb2.AudioFormat(encoding=PCM, sample_rate_hz=16_000))
    ),
    "turn": lambda: turn_pb2.DetectRequest(
        config=turn_pb2.DetectConfig(audio=audio_pb2.AudioFormat(encoding=PCM, sample_rate_hz=16_000))
    ),
    "tts": lambda: tts_pb2.SynthesizeRequest(
        config=tts_pb2.SynthesizeConfig(audio=audio_pb2.AudioFormat(encoding=PCM, sample_rate_hz=24_000))
    ),
    "llm": lambda: llm_pb2.GenerateRequest(
        config=llm_pb2.GenerateConfig(messages_json=json.dumps([{"role": "user", "content": "Hello"}]))
    ),
}


async def call(turns: int) -> dict[str, Any]:
    """One call's turns, and what broke it if something did."""
    files = (questions() * (turns // 3 + 1))[:turns]
    url = f"ws://{RELEASE}-orchestrator:7860/ws"
    try:
        made = await place_call(url, files, token=TOKENS.token())
    except CallError as error:
        return {"error": str(error), "outcomes": [turn.outcome for turn in error.call.turns] if error.call else []}
    errors = [f"{one.reason}: {one.message}" for one in made.errors]
    errors += [str(report["error"]) for turn in made.turns for report in turn.reports if report.get("error")]
    return {"error": "; ".join(errors), "outcomes": [turn.outcome for turn in made.turns], "session": made.session_id}


async def lasting(stopped: asyncio.Event) -> list[dict[str, Any]]:
    """Calls of many turns: the next one only begins when it is clear that there is to be one."""
    made = []
    while not stopped.is_set():
        made.append(await call(turns=int(os.environ["TURNS"])))
    return made


async def again_and_again(
    stopped: asyncio.Event, every_s: float, what: Callable[[int], Awaitable[dict[str, Any]]]
) -> list[dict[str, Any]]:
    async with asyncio.TaskGroup() as tasks:
        begun = []
        while not stopped.is_set():
            begun.append(tasks.create_task(what(len(begun))))
            await asyncio.sleep(every_s)
    return [task.result() for task in begun]


async def main() -> None:
    stopped = asyncio.Event()
    settings = Settings(
        **{name: f"{RELEASE}-{name}:{port}" for name, port in zip(FIRST, (50051, 50054, 50052, 50053), strict=True)},
        service_secret_file=Path("/etc/antiphon/tokens/service"),
    )

    async def watch() -> None:
        for _ in range(int(LONGEST_S * 4)):
            if STOP.exists():  # noqa: ASYNC240  # in memory
                break
            await asyncio.sleep(0.25)
        stopped.set()

    async with connected(settings) as pools:

        async def stream(number: int) -> dict[str, Any]:
            name = list(FIRST)[number % len(FIRST)]
            try:
                async with await getattr(pools, name).open(FIRST[name]()) as one:
                    await one.done_writing()
                    async for _ in one:
                        pass
            except Exception as error:  # whatever it is, it is the result
                return {"service": name, "error": f"{type(error).__name__}: {error}"}
            return {"service": name, "error": "", "address": one.address}

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            long = [tasks.create_task(lasting(stopped)) for _ in range(LASTING_CALLS)]
            short = tasks.create_task(again_and_again(stopped, CALL_EVERY_S, lambda _: call(turns=1)))
            streams = tasks.create_task(again_and_again(stopped, STREAM_EVERY_S, stream))
            print("calling", flush=True)
    print(json.dumps({"long": [task.result() for task in long], "short": short.result(), "streams": streams.result()}))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
