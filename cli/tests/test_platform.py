"""What a platform consists of, and how it is kept running."""

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from antiphon_bench.call import CallTurn, Stage
from antiphon_cli.bench import headline
from antiphon_cli.platform import PORTS, Plan, check_ports, free_ports
from antiphon_cli.supervisor import Died, running, supervised
from antiphon_runtime.errors import ConfigError


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ANTIPHON_"):
            monkeypatch.delenv(name)


def test_each_process_gets_its_own_port_and_the_orchestrator_knows_them() -> None:
    ports = free_ports()
    assert len(set(ports.values())) == len(PORTS)
    processes = {one.name: one for one in Plan(ports=ports).processes()}
    assert set(processes) == set(PORTS)
    for name in ("asr", "tts", "llm", "turn"):
        assert processes[name].env[f"ANTIPHON_{name.upper()}_BIND"] == f"127.0.0.1:{ports[name]}"
        assert processes["orchestrator"].env[f"ANTIPHON_ORCHESTRATOR_{name.upper()}"].endswith(str(ports[name]))


def test_what_the_user_has_set_wins_over_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TTS_BACKEND", "stub")
    processes = {one.name: one for one in Plan(models="cpu").processes()}
    assert processes["tts"].env["ANTIPHON_TTS_BACKEND"] == "stub"
    assert processes["asr"].env["ANTIPHON_ASR_BACKEND"] == "moonshine"


def test_a_shared_gpu_is_told_to_the_orchestrator_alone() -> None:
    for workers, asked in ((4, "4"), (1, None)):
        processes = {one.name: one for one in Plan(workers=workers).processes()}
        assert processes["orchestrator"].env.get("ANTIPHON_ORCHESTRATOR_WORKERS") == asked
    for single_gpu, told in ((True, "true"), (False, None)):
        processes = {one.name: one for one in Plan(single_gpu=single_gpu).processes()}
        assert processes["orchestrator"].env.get("ANTIPHON_ORCHESTRATOR_SINGLE_GPU") == told
        assert "ANTIPHON_ORCHESTRATOR_SINGLE_GPU" not in processes["llm"].env


def test_a_service_bound_elsewhere_by_the_user_is_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_BIND", "127.0.0.1:40404")
    processes = {one.name: one for one in Plan().processes()}
    assert processes["llm"].bind == "127.0.0.1:40404"
    assert processes["orchestrator"].env["ANTIPHON_ORCHESTRATOR_LLM"] == "127.0.0.1:40404"


def test_a_service_that_the_plan_itself_sets_is_not_the_users_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_ASR_BACKEND", "moonshine")
    monkeypatch.setenv("ANTIPHON_ASR_BIND", "127.0.0.1:40404")
    plan = Plan(env={"ANTIPHON_ASR_BACKEND": "stub", "ANTIPHON_ASR_BIND": "127.0.0.1:40405"})
    service = plan.service("asr", "stub")
    assert service.bind == service.env["ANTIPHON_ASR_BIND"] == "127.0.0.1:40405"
    assert service.env["ANTIPHON_ASR_BACKEND"] == "stub"


def test_only_a_backend_that_takes_its_weights_there_is_told_the_folder_of_models(tmp_path: Path) -> None:
    plan = Plan(models_dir=tmp_path)
    assert plan.service("asr", "moonshine").env["ANTIPHON_ASR_MOONSHINE__MODELS_DIR"] == str(tmp_path)
    assert not [name for name in plan.service("asr", "nemo").env if name.endswith("__MODELS_DIR")]


def test_model_processes_run_with_one_thread_and_do_not_spin() -> None:
    for process in Plan().processes():
        assert process.env["OMP_NUM_THREADS"] == process.env["OPENBLAS_NUM_THREADS"] == "1"
        assert process.env["OMP_WAIT_POLICY"] == "PASSIVE"


def test_the_warm_prompt_is_what_the_default_agent_begins_with(tmp_path: Path) -> None:
    path = Plan().write_warm_prompt(tmp_path)
    messages = json.loads(path.read_text())
    assert messages[0]["role"] == "system"
    llm = next(one for one in Plan().processes(path) if one.name == "llm")
    assert llm.env["ANTIPHON_LLM_LLAMACPP__WARM_PROMPT_FILE"] == str(path)


def test_ports_in_use_are_all_named() -> None:
    ports = free_ports()
    with socket.socket() as one, socket.socket() as other:
        for held, name in ((one, "asr"), (other, "llm")):
            held.bind(("127.0.0.1", ports[name]))
            held.listen()
        with pytest.raises(ConfigError) as refused:
            check_ports(Plan(ports=ports))
    assert f"{ports['asr']} (asr)" in str(refused.value)
    assert f"{ports['llm']} (llm)" in str(refused.value)
    assert "(tts)" not in str(refused.value)


async def test_a_process_that_cannot_start_is_named_with_its_last_words() -> None:
    plan = Plan(models="stub", ports=free_ports(), env={"ANTIPHON_TTS_STUB__PROFILE": "abacus"}, metrics=False)
    with pytest.raises(Died, match=r"tts ended with 2.*abacus"):
        async with running(plan, lambda _name, _line: None):
            pass
    assert not _children()


async def test_a_process_that_dies_is_started_again() -> None:
    lines: list[tuple[str, str]] = []
    again = asyncio.Event()

    def say(name: str, line: str) -> None:
        lines.append((name, line))
        if sum(one == "turn" and text.startswith("ready after") for one, text in lines) == 2:
            again.set()

    async with running(Plan(models="stub", ports=free_ports(), metrics=False), say) as pids:
        os.kill(pids["turn"], signal.SIGKILL)
        async with asyncio.timeout(30):
            await again.wait()
    assert any(name == "turn" and "starting it again" in line for name, line in lines)
    assert not _children()


async def test_a_process_that_is_not_ready_in_time_is_named() -> None:
    service = Plan(models="stub", ports=free_ports(), metrics=False).service("asr", "stub")
    with pytest.raises(Died, match="asr not ready within 0 s"):
        async with supervised([service], lambda _name, _line: None, start_s=0.01):
            pass
    assert not _children()


async def test_what_goes_wrong_while_processes_run_comes_out_as_it_was() -> None:
    service = Plan(models="stub", ports=free_ports(), metrics=False).service("asr", "stub")
    with pytest.raises(LookupError, match="of my own"):
        async with supervised([service], lambda _name, _line: None):
            raise LookupError("of my own")
    assert not _children()


def test_a_bench_line_counts_turns_without_an_answer_and_leaves_them_out_of_the_latency() -> None:
    stages = (Stage("pause", 0.0, 200.0), Stage("llm", 200.0, 300.0))

    def row(outcome: str, v2v_ms: float | None) -> dict[str, object]:
        turn = CallTurn("a.wav", "", "", "", outcome, v2v_ms, v2v_ms, None, stages if v2v_ms else (), (), ())
        return {
            "outcome": turn.outcome,
            "v2v_ms": turn.v2v_ms,
            "heard_v2v_ms": turn.heard_v2v_ms,
            "stages": [{"name": one.name, "start_ms": one.start_ms, "end_ms": one.end_ms} for one in turn.stages],
            "load": 0.5,
        }

    line = headline("v2v", [row("answered", 300.0), row("unanswered", None), {"pss_mb": {"asr": 100.0, "tts": 50.0}}])
    assert line.startswith("BENCH v2v turns=2 answered=1 heard_p50_ms=300 ")
    assert "pause_p50_ms=200.0" in line
    assert "pss_mb=150" in line


def _children() -> list[int]:
    """The ids of this process's children."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return [int(pid) for pid in found.read_text().split()] if found.exists() else []
