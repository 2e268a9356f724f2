"""hibari-tts on the CPU: a small distilled voice, one inference a segment, words timed by the model's own durations.

The wheel holds the model of one voice; others would be downloaded by the library, so only bundled ones are offered.
"""

import json
import time
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import soxr
from hibari import dsp
from hibari.g2p import G2P, normalize
from hibari.voices import ASSETS, VOICES, voice_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon_runtime.errors import ConfigError, InvalidInput
from antiphon_runtime.server import Host
from antiphon_runtime.settings import read_settings

from ..cleaning import Line, clean
from ..segments import Cut
from ..settings import Settings
from ..turns import Turns
from . import DEFAULT_SLOTS, Mode, Sampling, Speech, Voice
from .alignment import words
from .trimming import Pauses, trim

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]

# The graph's running sum of its phonemes' durations, a frame being 600 samples.
DURATIONS = "/CumSum_output_0"
FRAME = 600
# Where the phonemes of Kokoro, of which hibari is distilled, are heard before their durations say: three frames
# (kokoro/pipeline.py, join_timestamps).
EARLY_FRAMES = 3
# hibari's own bound for one inference (hibari/tts.py, MAX_PHONEMES).
MAX_PHONEMES = 400
# Short and long, with a word that no lexicon has: the shapes and the parts of a real reply.
WARM_UP = (
    "Sure,",
    "Yes. I can help you with that.",
    "The quick brown fox jumps over the lazy dog, Mr. Zyxhal paid $9.99 for it at 7:30 on the 3rd of March 2024.",
)


class HibariSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ANTIPHON_TTS_HIBARI__", frozen=True)

    threads: Annotated[int, Field(ge=1, description="Of onnxruntime, within one inference.")] = 1
    seed: Annotated[int, Field(ge=0, description="Of the voice's noise: one seed, one audio.")] = 0
    lead_ms: Annotated[int, Field(ge=0, description="Silence kept before a segment's first sound.")] = 10
    word_pause_ms: Annotated[int, Field(ge=0, description="Silence after a segment cut between two words.")] = 30
    clause_pause_ms: Annotated[int, Field(ge=0, description="Silence after a clause.")] = 120
    sentence_pause_ms: Annotated[int, Field(ge=0, description="Silence after a sentence.")] = 250


class HibariSynthesizer:
    """Kokoro's "heart" voice, distilled. One thread works for all streams, the most urgent segment first."""

    model = "hibari"
    modes = (Mode.STREAM, Mode.BATCH)
    rate_hz = dsp.SR
    default_slots = DEFAULT_SLOTS

    def __init__(self, session: Any, own: HibariSettings) -> None:
        self._session = session
        self._own = own
        self._g2p = G2P()
        self._vocabulary: dict[str, int] = json.loads((Path(ASSETS) / "vocab.json").read_text(encoding="utf-8"))
        self._turns = Turns("hibari")
        self.voices = bundled_voices()

    @classmethod
    def load(cls, settings: Settings) -> "HibariSynthesizer":
        """Loads and warms the model. Raises ConfigError when the wheel is not the one this was written for."""
        own = read_settings(HibariSettings)
        synthesizer = cls(_session(next(iter(bundled_voices())), own.threads), own)
        for text in WARM_UP:
            synthesizer.say(clean(text), Voice(next(iter(synthesizer.voices)), 16_000))
        return synthesizer

    def attach(self, host: Host) -> None:
        """Counts nothing of its own."""

    def sampling(self, asked: Sampling) -> Sampling:
        if asked != Sampling(seed=asked.seed):
            raise InvalidInput("config.sampling: model hibari has a seed only", reason="UNSUPPORTED_SAMPLING")
        return Sampling(seed=self._own.seed if asked.seed is None else asked.seed)

    @property
    def pieces(self) -> int:
        """Pieces of work begun since the model was warm; a segment is three, one of them the inference."""
        return self._turns.started

    async def speak(self, line: Line, voice: Voice, deadline: float) -> AsyncGenerator[Speech, None]:
        # A turn for each piece: another stream may be more urgent by then, or this one cancelled.
        work = self._work(line, voice)
        while (speech := await self._turns.run(partial(next, work), deadline)) is None:
            pass
        yield speech

    def close(self) -> None:
        self._turns.close()

    def say(self, line: Line, voice: Voice) -> Speech:
        """A segment's audio; blocks. What has no sound gives none."""
        return next(speech for speech in self._work(line, voice) if speech)

    def _work(self, line: Line, voice: Voice) -> Iterator[Speech | None]:
        """Makes a segment's audio piece by piece, None after each one; then the audio."""
        began = time.monotonic()
        noise = np.random.default_rng(self.sampling(voice.sampling).seed)
        heard, audio = self._phonemize(line.text), np.zeros(0, np.float32)
        spans: list[tuple[str, float, float]] = []
        for part in heard:
            yield None
            *spectra, durations = self._infer([phoneme for _, phonemes in part for phoneme in phonemes])
            yield None
            samples: Samples = dsp.synth(*(spectrum[0] for spectrum in spectra), noise)
            ends, at = _ends(durations, sum(len(phonemes) for _, phonemes in part)), 0
            for token, phonemes in part:
                start, at = at, at + len(phonemes)
                spans.append((token, len(audio) + ends[start], len(audio) + ends[at]))
            audio = np.concatenate((audio, samples))
        yield self._finish(line, voice, audio, spans, began)

    def _finish(
        self, line: Line, voice: Voice, audio: Samples, spans: list[tuple[str, float, float]], began: float
    ) -> Speech:
        pause_ms = {Cut.SENTENCE: self._own.sentence_pause_ms, Cut.CLAUSE: self._own.clause_pause_ms}
        tail_ms = pause_ms.get(line.end, self._own.word_pause_ms)
        trimmed = trim(audio, Pauses(self._own.lead_ms, tail_ms), self.rate_hz)
        scale = voice.rate_hz / self.rate_hz
        final = trimmed.samples
        if voice.rate_hz != self.rate_hz:
            final = soxr.resample(final, self.rate_hz, voice.rate_hz)
        pcm = np.rint(np.clip(final, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        clamp = partial(_clamped, shift=trimmed.start, low=trimmed.voice_start, high=trimmed.voice_end, scale=scale)
        return Speech(pcm, tuple(words(line, spans, clamp)), began)

    def _phonemize(self, text: str) -> list[list[tuple[str, list[int]]]]:
        """Inferences to run: words as the model reads them, each with the white space after it, and its phonemes."""
        words: list[tuple[str, list[int]]] = []
        for token in self._g2p.phonemize_tokens(self._g2p.tokenize(normalize(text))):
            spelled = (token.phonemes or "") + (" " if token.whitespace else "")
            phonemes = [self._vocabulary[phone] for phone in spelled if phone in self._vocabulary]
            if words and not words[-1][0].endswith(" "):
                words[-1] = (words[-1][0] + token.text + token.whitespace, words[-1][1] + phonemes)
            else:
                words.append((token.text + token.whitespace, phonemes))
        parts: list[list[tuple[str, list[int]]]] = []
        size = 0
        for word, phonemes in words:
            if not parts or size + len(phonemes) > MAX_PHONEMES:
                parts.append([])
                size = 0
            parts[-1].append((word, phonemes[:MAX_PHONEMES]))
            size += len(phonemes)
        return [part for part in parts if any(phonemes for _, phonemes in part)]

    def _infer(self, phonemes: list[int]) -> list[Any]:
        """The spectra of which `dsp.synth` makes the waveform, and the phonemes' durations."""
        ids = np.asarray([[0, *phonemes, 0]], np.int64)
        outputs: list[Any] = self._session.run(None, {"ids": ids, "speed": np.ones(1, np.float32)})
        return outputs


def _ends(durations: Any, phonemes: int) -> list[float]:
    """The samples at which each phoneme begins, with the last one's end."""
    ends: list[float] = (
        (np.asarray(durations, np.float64).reshape(-1)[: phonemes + 1] - EARLY_FRAMES) * FRAME
    ).tolist()
    return ends


def bundled_voices() -> dict[str, tuple[str, ...]]:
    """The voices whose model is inside the installed wheel, with their languages."""
    return {name: (voice["language"],) for name, voice in VOICES.items() if voice.get("bundled")}


def _session(voice: str, threads: int) -> Any:
    """The voice's graph with one more output, its durations.

    Protobuf joins messages that are laid end to end, so the few bytes of a model that has only that output add it.
    """
    output = _field(7, _field(12, _field(1, DURATIONS.encode())))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = Path(voice_path(voice, download_missing=False)).read_bytes() + output
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own that it does not export
        raise ConfigError(
            f"hibari's voice {voice!r} cannot be loaded: is hibari-tts 0.2.1 installed? {error}"
        ) from error


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field of under 128 bytes."""
    return bytes((number << 3 | 2, len(payload))) + payload


def _clamped(sample: float, *, shift: int, low: int, high: int, scale: float) -> int:
    """A place in the model's audio as a place in ours, within the sound."""
    return int(min(max(sample - shift, low), high) * scale)
