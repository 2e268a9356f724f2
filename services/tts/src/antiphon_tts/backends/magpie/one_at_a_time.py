"""Magpie as the system that Antiphon re-creates serves it: a baseline for benches, not for use.

NeMo's `do_tts` for whole segments; for streaming, a loop over NeMo's decoder without its cache, so that every frame
runs over all positions, whose codes are decoded 8 frames at first and then 12, with 3 frames of overlap (the seed's
preset "conservative"). A request has a thread of its own, and they take turns frame by frame.
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Self

import numpy as np

from antiphon_runtime.server import Host
from antiphon_runtime.settings import read_settings

from ...cleaning import Line
from ...settings import Settings
from .. import DEFAULT_SLOTS, Mode, Sampling, Speech, Voice
from ..audio import Finisher
from .settings import MagpieSettings

FIRST, CHUNK, OVERLAP = 8, 12, 3
TOKENIZER = "english_phoneme"
LANGUAGE = "en-US"


class OneAtATime:
    """Speaks English only; words have no times. Its requests take turns, but run together in nothing."""

    modes = (Mode.STREAM, Mode.BATCH)

    def __init__(self, magpie: Any, own: MagpieSettings) -> None:
        self._magpie = magpie
        self._own = own
        self._turn = threading.Lock()
        self.model = own.model.rpartition("/")[2].removesuffix(".nemo")
        self.rate_hz = int(magpie.output_sample_rate)
        self.voices = {"john": (LANGUAGE,)}
        self.default_slots = DEFAULT_SLOTS

    @classmethod
    def load(cls, settings: Settings) -> Self:
        from .loading import find_device, load_magpie

        own = read_settings(MagpieSettings)
        synthesizer = cls(load_magpie(own, find_device(own.device)), own)
        for mode in cls.modes:
            for _ in synthesizer._pieces("The quick brown fox jumps over the lazy dog.", mode):
                pass
        return synthesizer

    def attach(self, host: Host) -> None:
        """Counts nothing."""

    def sampling(self, asked: Sampling) -> Sampling:
        return asked

    async def speak(self, line: Line, voice: Voice, deadline: float) -> AsyncGenerator[Speech, None]:
        began = time.monotonic()
        finisher = Finisher(self.rate_hz, voice.rate_hz, self._own.lead_ms, self._own.most_lead_ms)
        pieces = self._pieces(line.text, voice.mode)
        # As there, a cancel is not heard before the thread's next piece.
        while (samples := await asyncio.to_thread(next, pieces, None)) is not None:
            yield Speech(finisher.push(samples), (), began)
        yield Speech(finisher.finish(), (), began)

    def _pieces(self, text: str, mode: Mode) -> Iterator[np.ndarray[Any, Any]]:
        tokens = [*self._magpie.tokenizer.encode(text=text, tokenizer_name=TOKENIZER), self._magpie.eos_id]
        frames = max(4, round(len(tokens) * self._own.frames_per_token)) if self._own.frames_per_token else 0
        return self._streamed(tokens, frames) if mode is Mode.STREAM else self._whole(text, frames)

    def _whole(self, text: str, frames: int) -> Iterator[np.ndarray[Any, Any]]:
        options = self._magpie.inference_parameters
        with self._turn:
            kept = options.max_decoder_steps, options.min_generated_frames
            if frames:
                options.max_decoder_steps = options.min_generated_frames = frames
            try:
                audio, _ = self._magpie.do_tts(text, language="en", speaker_index=0)
            finally:
                options.max_decoder_steps, options.min_generated_frames = kept
            samples = audio[0].float().cpu().numpy()
        yield samples

    def _streamed(self, tokens: list[int], frames: int) -> Iterator[np.ndarray[Any, Any]]:
        from .nemo_loop import decoded, frame_by_frame

        codes: list[Any] = []
        heard = 0
        loop = frame_by_frame(self._magpie, tokens, most=frames or math.inf, endless=frames > 0)
        while True:
            with self._turn:
                step = next(loop, None)
            if step is not None:
                codes.append(step)
            count = len(codes) * self._magpie.frame_stacking_factor
            if count - heard >= (CHUNK if heard else FIRST) or (step is None and count > heard):
                with self._turn:
                    yield decoded(self._magpie, codes, max(0, heard - OVERLAP), heard, count)
                heard = count
            if step is None:
                return
