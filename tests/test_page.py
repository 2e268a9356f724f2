"""The web page, in a real browser that speaks and listens."""

from pathlib import Path

import pytest
from browser import CHROMIUM, chromium
from platform_fixture import platform

from antiphon_bench import questions
from antiphon_orchestrator.gate import AUDIENCE
from antiphon_runtime.auth import Issuer, Verifier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's chromium to run the page's tests"),
]
HEARD_ENERGY = """
Promise.all(connections.map(async (connection) => [...(await connection.getStats()).values()]))
  .then((all) => all.flat().filter((one) => one.type === "inbound-rtp" && one.kind === "audio"))
  .then((streams) => streams.reduce((sum, one) => sum + one.totalAudioEnergy, 0))
"""
SECRET = b"a secret of at least thirty-two bytes"


async def test_a_spoken_question_in_the_browser_is_answered_aloud(tmp_path: Path) -> None:
    async with platform() as running, chromium(tmp_path, questions()[0]) as tab:
        await tab.open(running.page)
        await tab.until("document.getElementById('agent').options.length")
        await tab.evaluate("document.getElementById('call').click()")
        shown = await tab.until("document.querySelector('#turns li')?.innerText")
        assert "Hello there." in shown  # what the recognizer's stub hears
        assert "I heard: Hello there." in shown
        assert "ms voice to voice" in shown
        assert await tab.evaluate(HEARD_ENERGY) > 0.001
        await tab.evaluate("document.getElementById('call').click()")
        await tab.until("document.getElementById('call').innerText === 'Call'")
        await tab.until(f"fetch('{running.page}/healthz').then(r => r.json()).then(s => s.sessions === 0)")
        assert running.slots_used() == {"asr": 0, "tts": 0, "llm": 0, "turn": 0}


async def test_a_page_opened_with_a_token_may_call_and_one_without_may_not(tmp_path: Path) -> None:
    token = Issuer(SECRET, AUDIENCE).token()
    async with platform(verifier=Verifier(SECRET, AUDIENCE)) as running, chromium(tmp_path, questions()[0]) as tab:
        await tab.open(running.page)
        await tab.until("document.getElementById('status').innerText.includes('no token')")
        await tab.open(f"{running.page}/?token={token}")
        await tab.until("document.getElementById('agent')?.options.length")
        await tab.evaluate("document.getElementById('call').click()")
        assert await tab.until("document.querySelector('#turns li')?.innerText")


async def test_a_full_server_says_so_on_the_page(tmp_path: Path) -> None:
    async with (
        platform(max_sessions=1) as running,
        running.sessions.admitted(""),
        chromium(tmp_path, questions()[0]) as tab,
    ):
        await tab.open(running.page)
        await tab.until("document.getElementById('agent').options.length")
        await tab.evaluate("document.getElementById('call').click()")
        assert await tab.until("document.getElementById('status').innerText.includes('all 1 conversations are taken')")
