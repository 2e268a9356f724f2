"""The stub services with a profile's latencies, and the three front ends that share them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from antiphon_asr.backends.stub import PROFILES as FINAL
from antiphon_llm.backends.stub import FIRST_SEGMENT
from antiphon_orchestrator.agents import Agent
from antiphon_tts.backends.stub import PROFILES as FIRST_AUDIO

from ..platform import Plan, Process, free_ports

PROFILES = ("rtx5090", "dgx-spark", "h100", "zero")
QUESTION = Path(__file__).with_name("station.wav")
# 500 ms of the stub's voice: 60 ms and 50 for each letter of a word.
ANSWER = "It is one."
PAUSE_MS = 200.0
OFF, ON, PLAIN = "off", "on", "plain"
SIDES = (OFF, ON, PLAIN)
# Sessions that a process may hold, and streams that a stub may.
MOST = "200"


@dataclass(frozen=True, slots=True)
class Bench:
    """What runs: every process, and where each side takes its calls."""

    processes: list[Process]
    urls: dict[str, str]


def bench(profile: str, folder: Path) -> Bench:
    """The four stubs of one profile, ours without speculation and with it, and the plain bot; `folder` is for files."""
    plan = Plan(models="stub", ports=free_ports(), metrics=False, env=_stubs(profile))
    services = plan.processes()[:-1]
    fronts = {side: _front(plan, side, folder) for side in SIDES}
    return Bench([*services, *fronts.values()], {side: f"ws://{one.bind}/ws" for side, one in fronts.items()})


def _stubs(profile: str) -> dict[str, str]:
    return {
        **{f"ANTIPHON_{name}_STUB__PROFILE": profile for name in ("ASR", "TTS", "LLM", "TURN")},
        **{f"ANTIPHON_{name}_SLOTS": MOST for name in ("ASR", "TTS", "LLM", "TURN")},
        "ANTIPHON_ASR_STUB__SCRIPT": "Where is the station?",
        "ANTIPHON_LLM_STUB__SCRIPT": ANSWER,
        # The utterance has no pause of its own: who has been silent at all has finished.
        "ANTIPHON_TURN_STUB__COMPLETE_AFTER_MS": "0",
    }


def _front(plan: Plan, side: str, folder: Path) -> Process:
    own = replace(plan, ports={**plan.ports, "orchestrator": free_ports()["orchestrator"]})
    *_, orchestrator = own.processes()
    env: Mapping[str, str] = {**orchestrator.env, "ANTIPHON_ORCHESTRATOR_MAX_SESSIONS": MOST}
    if side == PLAIN:
        return replace(orchestrator, name=side, module="antiphon_cli.conversation.plain_bot", env=env)
    agents = folder / f"{side}.yaml"
    agent = {"system_prompt": "Answer.", "llm_calls_per_turn": 1 if side == OFF else 1.75}
    agents.write_text(yaml.safe_dump({"default": "ava", "agents": {"ava": agent}}))
    return replace(orchestrator, name=side, env={**env, "ANTIPHON_ORCHESTRATOR_AGENTS_FILE": str(agents)})


def injected_ms(profile: str, side: str = OFF) -> float:
    """What a turn takes if nothing but the pause and the models took time, each model its median.

    Without speculation the recognizer works during the pause, with it the model and the voice do, too, as far as they
    get: they begin with the text that is asked for at the agent's first pause. The plain bot asks for it after its own
    pause, which is as long as ours; its turn model works in its process.
    """
    if profile == "zero":
        return PAUSE_MS
    final_ms = 1000 * FINAL[profile].at(0.5)
    answer_ms = 1000 * (FIRST_SEGMENT[profile].at(0.5) + FIRST_AUDIO[profile].at(0.5))
    if side == PLAIN:
        return PAUSE_MS + final_ms + answer_ms
    if side == ON:
        first_pause_ms: int = Agent.model_fields["first_pause_ms"].default
        return max(PAUSE_MS, first_pause_ms + final_ms + answer_ms)
    return PAUSE_MS + answer_ms
