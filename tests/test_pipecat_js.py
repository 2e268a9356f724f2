"""Pipecat's official JavaScript client, in a real browser, through the door."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from browser import CHROMIUM, chromium
from pipecat_js import NPM, NoPackages, bundle
from platform_fixture import AVA, platform, until

from antiphon_bench.testing.synth import tone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's chromium to try Pipecat's client"),
    pytest.mark.skipif(NPM is None, reason="no npm: install Node.js to fetch Pipecat's client"),
]
TYPIST = AVA.model_copy(update={"allow_send_text": True})


@pytest.fixture
async def script() -> str:
    try:
        return await bundle()
    except NoPackages as error:
        pytest.skip(f"Pipecat's client cannot be fetched: {error}")


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """A word, after long enough for the slowest machine to connect, three times."""
    path = tmp_path / "microphone.wav"
    said = np.concatenate([np.zeros(48_000 * 6), tone(0.6, 48_000)])
    sf.write(path, np.concatenate([said, said, said, np.zeros(48_000 * 5)]), 48_000, subtype="PCM_16")
    return path


@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
async def test_the_official_client_talks_types_and_leaves(
    transport: str, script: str, microphone: Path, tmp_path: Path
) -> None:
    async with platform(agents={"ava": AVA, "typist": TYPIST}) as at, chromium(tmp_path / "profile", microphone) as tab:
        await tab.open(at.page)
        await tab.evaluate(script)
        assert await tab.evaluate(f"pipecat.call('{transport}', 'typist')") == "ready"
        assert await tab.evaluate("pipecat.all('onBotReady').length") == 1
        (session,) = at.sessions._active.values()

        await tab.until(
            "pipecat.all('onUserTranscript').some(({ final, text }) => final && text === 'Hello there.')", 40
        )
        await until(lambda: any(turn.heard == "Hello there." for turn in session.turns))

        await tab.evaluate("pipecat.client.sendText('Where is Rome?')")
        await tab.until("pipecat.all('onBotTranscript').some((said) => said.text.includes('Where is Rome?'))")
        await until(lambda: any(turn.heard == "Where is Rome?" for turn in session.turns))

        refused = "antiphon_caller_messages_refused_total"
        await tab.evaluate("pipecat.client.sendClientMessage('set-voice', { voice: 'x' })")
        await tab.evaluate("pipecat.client.sendClientMessage('antiphon.underruns', { count: 2 })")
        await until(lambda: at.sample("antiphon_client_underruns_total") == 2)
        assert at.sample(refused, reason="type_not_allowed") == 1
        await tab.evaluate("pipecat.client.enableMic(false)")  # over WebRTC it says so by a message of its own

        await tab.evaluate("pipecat.client.disconnectBot()")
        await until(lambda: at.sessions.active == 0)
        assert session.ended == "caller"
        # A busy machine stalls the browser's audio, and the client may leave within an answer.
        assert {turn.outcome for turn in session.turns} <= {"answered", "interrupted", "stalled", "hung_up"}
        assert at.sample(refused, reason="malformed") == 0 and at.sample(refused, reason="type_not_allowed") == 1
