"""The README's examples work, and its lists match the code."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from own_bot import RATE, TICK_MS, audio, silence, stub, tone
from pipecat.frames.frames import EndFrame, Frame, LLMContextAssistantTurnFrame, StartFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

import antiphon_orchestrator.services as services
from antiphon_orchestrator.agents import Agent, Agents
from antiphon_orchestrator.settings import Settings
from antiphon_orchestrator.timeline import STAGES

README = Path(__file__).parents[1] / "README.md"


def code(language: str) -> str:
    """The README's one block in a language."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    return str(block)


def section(title: str) -> str:
    return README.read_text().split(f"## {title}\n")[1].split("\n## ")[0]


class Caller(FrameProcessor):
    """A transport's input: a caller who says something once the bot is up, falls silent, and hangs up when answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = ""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            size = RATE * TICK_MS // 1000 * 2
            pcm = tone(400) + silence(400)
            for at in range(0, len(pcm), size):
                await self.push_frame(audio(pcm[at : at + size]))
        elif isinstance(frame, LLMContextAssistantTurnFrame):
            self.answer = frame.text
            await self.pipeline_worker.queue_frame(EndFrame())


class Listener(FrameProcessor):
    """A transport's output that is heard by nobody."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class Line:
    """A transport without a network."""

    def __init__(self) -> None:
        self.caller = Caller()

    def input(self) -> FrameProcessor:
        return self.caller

    def output(self) -> FrameProcessor:
        return Listener()


async def test_the_bot_of_ones_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, Any] = {}
    exec(compile(code("python"), README, "exec"), shown)
    line = Line()
    async with stub("asr") as asr, stub("tts") as tts, stub("llm") as llm, stub("turn") as turn:
        for name, served in {"ASR": asr, "TTS": tts, "LLM": llm, "TURN": turn}.items():
            monkeypatch.setenv(f"ANTIPHON_ORCHESTRATOR_{name}", served.target)
        async with asyncio.timeout(60):
            await shown["bot"](line)
    assert line.caller.answer == "I heard: Hello there."


def test_the_agents_file_loads(tmp_path: Path) -> None:
    (tmp_path / "facts.txt").write_text("Tea is green.")
    (tmp_path / "agents.yaml").write_text(code("yaml"))
    agents = Agents.load(tmp_path / "agents.yaml")
    assert agents.names == ["ava"]
    assert set(yaml.safe_load(code("yaml"))["agents"]["ava"]) == set(Agent.model_fields)


def test_every_setting_is_listed_and_no_other() -> None:
    listed = {name for row in re.findall(r"^\| (`.*?`) \|", section("Settings"), re.MULTILINE) for name in row.split()}
    assert listed == {f"`{name.upper()}`" for name in Settings.model_fields}


def test_every_stage_is_listed_in_order() -> None:
    assert re.findall(r"^\| `(\w+)` \|", section("Timelines"), re.MULTILINE) == list(STAGES)


def test_every_service_is_listed() -> None:
    for name in services.__all__:
        if name.startswith("Antiphon"):
            assert f"**`{name}(" in section("In a bot of one's own")
