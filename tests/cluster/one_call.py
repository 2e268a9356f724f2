"""one_call.py URL TOKEN QUESTION [WAV]: places a call of one question (1, 2 or 3) and prints JSON.

Runs in the environment that has the caller, `.venv`, beside the tests. Prints `calling` first, so that something can be
broken in the middle of the turn. Times are of the wall clock.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from antiphon_bench import questions
from antiphon_bench.caller import place_call
from antiphon_bench.errors import CallError

# For an answer, or for what is said in its place.
TIMEOUT_S = 40.0


async def main(url: str, token: str, question: str, recording: str = "") -> None:
    began = time.time()
    print("calling", flush=True)
    try:
        call = await place_call(url, [questions()[int(question) - 1]], token=token, timeout_s=TIMEOUT_S)
    except CallError as error:
        print(json.dumps({"error": str(error)}))
        return
    if recording:
        call.save_recording(Path(recording))
    (turn,) = call.turns
    heard = [one.agent_start_s for one in call.measured.turns if one.agent_start_s is not None]
    told = {
        "error": "",
        "outcome": turn.outcome,
        "heard": turn.heard,
        "answered": turn.answered,
        "apologized": any(report.get("apologized") for report in turn.reports),
        "v2v_ms": turn.v2v_ms,
        # When the agent began to be heard, None when it never was.
        "spoke_at": began + heard[-1] if heard else None,
        "answer_from_s": heard[-1] if heard else None,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
