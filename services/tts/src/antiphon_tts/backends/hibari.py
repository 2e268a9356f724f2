"""hibari-tts on the CPU: a small distilled voice, one inference a segment, words timed by the model's own durations.

The wheel holds the model of one voice; others would be downloaded by the library, so only bundled ones are offered.
"""

import json
import time
from collections.abc import AsyncGenerator, Callable
from difflib import SequenceMatcher
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

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.settings import read_settings

from ..cleaning import Line, clean
from ..segments import Cut
from ..settings import Settings
from ..turns import Turns
from . import Mode, Said, Speech, Voice
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

    @property
    def inferences(self) -> int:
        """Segments that the model has begun on since it was warm."""
        return self._turns.started

    async def speak(self, line: Line, voice: Voice, deadline: float) -> AsyncGenerator[Speech, None]:
        yield await self._turns.run(partial(self.say, line, voice), deadline)

    def close(self) -> None:
        self._turns.close()

    def say(self, line: Line, voice: Voice) -> Speech:
        """A segment's audio; blocks. What has no sound gives none."""
        began = time.monotonic()
        noise = np.random.default_rng(self._own.seed)
        heard, audio = self._phonemize(line.text), np.zeros(0, np.float32)
        spans: list[tuple[str, float, float]] = []
        for part in heard:
            samples, ends = self._infer([phoneme for _, phonemes in part for phoneme in phonemes], noise)
            at = 0
            for token, phonemes in part:
                start, at = at, at + len(phonemes)
                spans.append((token, len(audio) + ends[start], len(audio) + ends[at]))
            audio = np.concatenate((audio, samples))
        return self._finish(line, voice, audio, spans, began)

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
        return Speech(pcm, tuple(_words(line, spans, clamp)), began)

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

    def _infer(self, phonemes: list[int], noise: np.random.Generator) -> tuple[Samples, list[float]]:
        """The waveform, and the samples at which each phoneme begins, with the last one's end."""
        ids = np.asarray([[0, *phonemes, 0]], np.int64)
        *parts, durations = self._session.run(None, {"ids": ids, "speed": np.ones(1, np.float32)})
        audio: Samples = dsp.synth(*(part[0] for part in parts), noise)
        ends = (np.asarray(durations, np.float64).reshape(-1)[: len(phonemes) + 1] - EARLY_FRAMES) * FRAME
        return audio, ends.tolist()


def bundled_voices() -> dict[str, str]:
    """The voices whose model is inside the installed wheel, with their languages."""
    return {name: voice["language"] for name, voice in VOICES.items() if voice.get("bundled")}


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


def _words(line: Line, spans: list[tuple[str, float, float]], place: Callable[[float], int]) -> list[Said]:
    """When each written word is heard: the span of the read words it became."""
    starts, ends = _aligned(line.tokens, spans)
    said: list[Said] = []
    for number, word in enumerate(line.words):
        start = place(starts[word.tokens.start]) if number else place(float("-inf"))
        end = place(ends[word.tokens.stop - 1]) if number + 1 < len(line.words) else place(float("inf"))
        start = max(start, said[-1].end if said else 0)
        said.append(Said(word.text, start, max(start, end)))
    return said


def _aligned(tokens: list[str], spans: list[tuple[str, float, float]]) -> tuple[list[float], list[float]]:
    """Start and end of each written token; where reading changed the words, the stretch is shared by length."""
    read = [word.strip() for word, _, _ in spans]
    starts, ends, at = [0.0] * len(tokens), [0.0] * len(tokens), 0.0
    for _, a, b, c, d in SequenceMatcher(None, tokens, read, autojunk=False).get_opcodes():
        if d > c:
            begin, at = spans[c][1], spans[d - 1][2]
        else:
            begin = at
        if a == b and a:
            ends[a - 1] = at
        total = sum(map(len, tokens[a:b])) or 1
        for index in range(a, b):
            exact = b - a == d - c
            share = (at - begin) * len(tokens[index]) / total
            starts[index] = spans[c + index - a][1] if exact else begin
            ends[index] = begin = spans[c + index - a][2] if exact else begin + share
    return starts, ends
