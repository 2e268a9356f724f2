"""Servers that go at a random point of a turn, while a second replica is there: no turn is left without a word."""

import asyncio
import random

import pytest
from platform_fixture import AVA, platform, until
from raw_caller import dialled

from antiphon_bench.testing.soak import counted
from antiphon_orchestrator.agents import Phrases

EVE = AVA.model_copy(update={"phrases": Phrases(apology="So sorry.", farewell="", filler="", prompt="", goodbye="")})
KILLS = counted(full=50, reduced=12)
# A turn takes about 0.4 s to say, half a second until its answer and one more to hear that.
TURN_S = 2.0


@pytest.mark.timeout(120 + 20 * KILLS)
async def test_whichever_server_is_killed_every_turn_is_answered_or_apologized_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ASR", "TTS", "LLM", "TURN"):
        monkeypatch.setenv(f"ANTIPHON_{name}_STUB__PROFILE", "rtx5090")
    rng = random.Random(7)
    outcomes: list[str] = []
    async with platform(agents={"eve": EVE}, replicas=2) as at, dialled(at.url, longest_s=60 + 20 * KILLS) as caller:
        await caller.until_session()
        await until(lambda: at.rpcs("tts", "ok") == 1)
        for number in range(KILLS):
            name = ("asr", "tts", "llm", "turn")[number % 4]
            asking = asyncio.create_task(caller.turn())
            await asyncio.sleep(rng.uniform(0, TURN_S))
            victim = rng.randrange(2)
            await at.fleet.stop(name, victim)
            async with asyncio.timeout(60):
                report = await asking
            assert report["outcome"] == "answered" or report["apologized"], (number, name, report)
            outcomes.append(report["outcome"])
            await at.fleet.start(name, victim)
            await caller.quiet(300)
        used = {name: sum(one.sample(f"antiphon_{name}_slots_used") for one in at.served(name)) for name in at.services}
        assert used == {"asr": 1, "turn": 1, "llm": 0, "tts": 0}
    # A second replica is worth something: it is the rule that the caller notices nothing.
    assert outcomes.count("answered") >= 0.7 * KILLS
