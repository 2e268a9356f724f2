"""The CPU voice is understood: what it says, written down again by the recognizer."""

from pathlib import Path

import grpc
import pytest
from weights import needs_weights

from antiphon.common.v1 import audio_pb2
from antiphon.tts.v1 import tts_pb2, tts_pb2_grpc
from antiphon_bench.asr.sets import Spoken
from antiphon_bench.asr.stream import Pace, StreamConfig, connected
from antiphon_bench.asr.wer import transcribe_set
from antiphon_bench.process import running
from antiphon_bench.tts.load import MODES, sentences
from antiphon_runtime.testing import collect

pytest.importorskip("hibari")

PCM = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=16_000)
# Of three words and more: a recognizer of whole utterances needs some context.
SENTENCES = [text for text in sentences() if len(text.split()) > 2][:30]
MOST_WER_PCT = 8.0


async def said(channel: grpc.aio.Channel, text: str, mode: str) -> bytes:
    """What the voice makes of a sentence, with half a second of silence around it."""
    config = tts_pb2.SynthesizeConfig(audio=PCM, mode=MODES[mode])
    requests = [tts_pb2.SynthesizeRequest(config=config), tts_pb2.SynthesizeRequest(text=text)]
    events, error = await collect(tts_pb2_grpc.TtsServiceStub(channel).Synthesize(iter(requests)))
    assert error is None, error
    silence = bytes(2 * 8000)
    return silence + b"".join(event.audio.pcm for event in events if event.WhichOneof("event") == "audio") + silence


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_weights
@pytest.mark.parametrize("mode", ["stream", "batch"])
async def test_what_the_voice_says_is_heard_as_it_was_written(tmp_path: Path, mode: str) -> None:
    async with (
        running("tts", "hibari", {}, tmp_path / "tts.log") as tts,
        grpc.aio.insecure_channel(tts.target) as channel,
    ):
        spoken = [Spoken(text, text, await said(channel, text, mode)) for text in SENTENCES]
    async with running("asr", "moonshine", {}, tmp_path / "asr.log") as asr, connected([asr.target]) as replicas:
        result = await transcribe_set(replicas, spoken, StreamConfig(), backend="moonshine", pace=Pace.FAST)
    print(f"WER {result.wer_pct:.1f} % of {result.words} words, {mode}")
    misheard = [(row.said, row.answer and row.answer.text) for row in result.rows if row.errors.count]
    assert len(result.rows) == 30 and not result.failed
    assert result.wer_pct <= MOST_WER_PCT, misheard
