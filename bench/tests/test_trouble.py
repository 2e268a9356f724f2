"""The harness of troubled calls: its model server, its proxy, its random mode and how it runs a case."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from antiphon_bench.trouble.case import Case, Side, Trial
from antiphon_bench.trouble.cases.dictation import digits_in
from antiphon_bench.trouble.chance import GAPS, HICCUPS, NOISES, combination
from antiphon_bench.trouble.expected import compare
from antiphon_bench.trouble.hiccups import Proxy
from antiphon_bench.trouble.judge import Verdict
from antiphon_bench.trouble.model import ModelServer, Reply, in_turn
from antiphon_bench.trouble.report import headline
from antiphon_bench.trouble.run import Row, run_case
from antiphon_bench.trouble.sounds import beep
from antiphon_bench.wav import Samples

# The model server and the proxy.


async def test_the_model_answers_each_agent_by_its_script() -> None:
    server = ModelServer()
    server.play("one", in_turn(Reply("It is Rome."), Reply(tool="book"), Reply("no", status=503)))
    prompt = [{"role": "system", "content": "Be brief. [one]"}, {"role": "user", "content": "Well?"}]
    async with server.serving() as url, httpx.AsyncClient(trust_env=False) as http:
        answers = [await http.post(f"{url}/chat/completions", json={"messages": prompt}) for _ in range(3)]
        other = await http.post(f"{url}/chat/completions", json={"messages": prompt[1:]})
    assert [answer.status_code for answer in (*answers, other)] == [200, 200, 503, 200]
    assert "".join(part for part in ("It", " is", " Rome.") if part in answers[0].text) == "It is Rome."
    assert '"name": "book"' in answers[1].text
    assert [request.ended for request in server.requests("one")] == ["done", "done", "503"]
    assert len(server.requests("plain")) == 1


async def test_a_proxy_holds_back_what_the_service_answers() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    service = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]
    async with Proxy(f"127.0.0.1:{port}").serving() as proxy:
        host, _, bind = proxy.bind.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(bind))
        writer.write(b"one")
        assert await reader.read(100) == b"one"
        proxy.hesitate()
        writer.write(b"two")
        waiting = asyncio.create_task(reader.read(100))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        proxy.go_on()
        assert await waiting == b"two"
        proxy.cut()
        assert await reader.read(100) == b""
        writer.close()
    service.close()


def test_digits_are_read_in_figures_and_in_words() -> None:
    assert digits_in("My number is 555-123, four five six seven.") == "5551234567"
    assert digits_in("Oh, I see: somebody won.") == "0"


# Random combinations.


def test_a_seed_and_a_number_give_the_same_combination_whatever_others_there_are() -> None:
    assert combination(3, 7) == combination(3, 7)
    assert json.dumps(combination(3, 7).to_json()) == json.dumps(combination(3, 7).to_json())
    assert len({str(combination(3, number)) for number in range(50)}) == 50
    assert combination(3, 7).steps != combination(4, 7).steps


def test_random_combinations_have_all_kinds_of_trouble() -> None:
    steps = [step for number in range(200) for step in combination(1, number).steps]
    assert {step.gap for step in steps} == set(GAPS)
    assert {step.noise for step in steps} == set(NOISES)
    assert {step.hiccup for step in steps} == set(HICCUPS)


# Running a case.


class Nowhere:
    """A place whose orchestrator is not there."""

    page = "http://127.0.0.1:1"
    recordings = Path("unused")

    def __init__(self) -> None:
        self.model = ModelServer()
        self.proxies: dict[str, Proxy] = {}

    @property
    def voice(self) -> Any:
        return self

    def question(self, number: int = 1) -> Samples:
        return beep()

    def least_s(self, answer: str) -> float:
        return 1.0


def case_of(run: Any, limit_s: float = 1.0) -> Case:
    return Case("made", "1", "16.2", "gaps", "holds", run, limit_s=limit_s)


def test_a_case_that_raises_fails_with_its_reason_and_is_recorded(tmp_path: Path) -> None:
    async def raises(trial: Trial) -> None:
        async with trial.call():
            pass

    place: Any = Nowhere()
    row = asyncio.run(run_case(case_of(raises), place, Side.OURS, tmp_path))
    assert not row.passed and not row.ran and "Error" in row.verdict.reasons[0]
    assert list(tmp_path.glob("made-ours-*.wav"))


async def test_a_case_that_hangs_fails_in_time(tmp_path: Path) -> None:
    async def hangs(_: Trial) -> None:
        await asyncio.Event().wait()

    place: Any = Nowhere()
    row = await run_case(case_of(hangs, 0.05), place, Side.OURS, tmp_path)
    assert row.verdict.reasons == ["not over within 0 s"]


def test_the_last_line_sums_up_our_side_alone() -> None:
    async def nothing(_: Trial) -> None:
        return

    def row(side: Side, verdict: Verdict) -> Row:
        return Row(case_of(nothing), side, verdict, 1.0, [], [], 0.0)

    rows = [
        row(Side.OURS, Verdict(dead_air=1, lost_answers=2, reasons=["x"])),
        row(Side.OURS, Verdict()),
        row(Side.PLAIN, Verdict(forged=1, reasons=["y"])),
    ]
    compared = compare({"made": False}, {}, ["made"])
    line = "BENCH trouble cases=2 passed=1 expected_failures=0 dead_air=1 lost_answers=2 forged=0 self_talk=0"
    assert headline(rows, compared) == line
