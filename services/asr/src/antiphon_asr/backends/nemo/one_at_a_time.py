"""The seed's way, as a baseline for benches: a stream at a time behind one lock, features of all audio at every chunk.

`ANTIPHON_ASR_BACKEND=antiphon_asr.backends.nemo.one_at_a_time:OneAtATime` serves it with the settings of `nemo`. It is
what pipecat-ai/nemotron-january-2026 does, `src/nemotron_speech/server.py`, without its faults in handling errors: a
first chunk of a whole shift, a hard reset at each commit, whose padding is (R + 1) * shift mel frames.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.server import Host
from antiphon_runtime.settings import ServerSettings, read_settings

from .. import Heard, Mode, Pending, Reading, StreamConfig, Work
from .context import HOP, RATE_HZ
from .settings import PREFIX, NemoSettings


@dataclass(slots=True)
class Session:
    """One connection's state since its last hard reset."""

    audio: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    emitted: int = 0
    caches: Any = None
    hypotheses: Any = None
    text: str = ""


class OneAtATime:
    rates_hz = (RATE_HZ,)
    languages = ("en-US", "en")
    word_times = False
    word_confidence = False
    default_slots = 1024

    def __init__(self, stepper: "Stepper", model: str) -> None:
        self.contexts_ms = (stepper.context_ms,)
        self.models = (model,)
        self._stepper = stepper
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="one at a time")

    @classmethod
    def load(cls, settings: ServerSettings) -> Self:
        """Raises ConfigError as the backend `nemo` does, and for a context that this way cannot serve."""
        own = read_settings(NemoSettings)
        try:
            stepper = Stepper.load(own)
        except ImportError as error:
            raise ConfigError(f"the baseline needs pip install 'antiphon-asr[nemo]': {error}") from error
        return cls(stepper, own.model.rpartition("/")[2].removesuffix(".nemo"))

    def attach(self, host: Host) -> None:
        pass

    def decoder(self, config: StreamConfig) -> "OneDecoder":
        return OneDecoder(self._stepper, self._lock, self._thread)

    def work(self) -> Mapping[str, Work]:
        return dict(self._stepper.work)

    def close(self) -> None:
        self._thread.shutdown()


class OneDecoder:
    def __init__(self, stepper: "Stepper", lock: asyncio.Lock, thread: ThreadPoolExecutor) -> None:
        self._stepper = stepper
        self._lock = lock
        self._thread = thread
        self._session = Session()
        self._start = 0
        self._grew = asyncio.Event()

    async def push(self, pcm: bytes) -> None:
        self._session.audio = np.concatenate([self._session.audio, np.frombuffer(pcm, "<i2")])
        while self._stepper.due(self._session):
            before = self._session.text
            async with self._lock:
                await self._run(self._stepper.step, self._session)
            if self._session.text != before:
                self._grew.set()

    def read(self, end_sample: int, mode: Mode) -> Pending:
        if mode is Mode.SPECULATE:  # the soft reset: what is known, without inference
            text = self._session.text

            async def known() -> Reading:
                return Reading(text)

            return known
        ended, self._session = self._session, Session()
        count = end_sample - self._start
        self._session.audio, ended.audio = ended.audio[count:], ended.audio[:count]
        self._start = end_sample

        async def final() -> Reading:
            async with self._lock:
                began_s = time.monotonic()
                await self._run(self._stepper.finish, ended)
            return Reading(ended.text, began_s=began_s)

        return final

    async def interims(self) -> AsyncIterator[Heard]:
        while True:
            await self._grew.wait()
            self._grew.clear()
            if self._session.text:
                yield Heard(self._session.text, self._start + self._session.emitted * HOP)

    def close(self) -> None:
        pass

    async def _run(self, work: Any, session: Session) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work, session)


class Stepper:
    """The model and its slicing of mel frames."""

    def __init__(self, model: Any, context_ms: int, right: int) -> None:
        self.context_ms = context_ms
        self.work = {"live": Work(0, 0.0), "flush": Work(0, 0.0)}
        self._model = model
        self._right = right
        self._shift = model.encoder.streaming_cfg.shift_size[1]
        # The seed's first chunk; NeMo's own is chunk_size[0].
        self.first_chunk = self._shift
        self._history = model.encoder.streaming_cfg.pre_encode_cache_size[1]

    @classmethod
    def load(cls, own: NemoSettings) -> "Stepper":
        import torch
        from omegaconf import OmegaConf, open_dict

        from .loading import checkpoint, dtype_on, find_devices
        from .model import MAX_SYMBOLS, check

        torch.set_num_threads(own.threads)
        model = checkpoint(own.model)
        check(model)
        device = find_devices(own.device)[0]
        model = model.eval().to(device)
        for part in (model.encoder, model.decoder, model.joint):
            part.to(dtype_on(device, own))
        context_ms = own.context_ms or 160
        allowed = {(right + 1) * 80: [left, right] for left, right in model.encoder.att_context_size_all if right > 0}
        if context_ms not in allowed:
            had = ", ".join(map(str, sorted(allowed)))
            raise ConfigError(f"{PREFIX}CONTEXT_MS: this way serves {had}, not {context_ms}")
        decoding = model.cfg.decoding
        with open_dict(decoding):
            decoding.strategy = "greedy_batch"
            decoding.greedy = OmegaConf.create(
                {"max_symbols": MAX_SYMBOLS, "loop_labels": True, "use_cuda_graph_decoder": own.cuda_graphs}
            )
        model.change_decoding_strategy(decoding, verbose=False)
        model.encoder.set_default_att_context_size(allowed[context_ms])
        model.preprocessor.featurizer.dither = 0.0
        model.preprocessor.featurizer.pad_to = 0
        stepper = cls(model, context_ms, allowed[context_ms][1])
        warm = Session(np.random.default_rng(0).normal(scale=3000, size=3 * RATE_HZ).astype(np.int16))
        while stepper.due(warm):
            stepper.step(warm)
        stepper.finish(warm)
        return stepper

    def due(self, session: Session) -> bool:
        return len(session.audio) >= (self._next_end(session) + 1) * HOP

    def step(self, session: Session) -> None:
        """One chunk: the features of everything so far, and the model on the newest of them."""
        self._forward(session, session.audio, self._next_end(session), last=False)

    def finish(self, session: Session) -> None:
        """The rest of the audio and its padding in one step."""
        padding = (self._right + 1) * self._shift * HOP
        audio = np.concatenate([session.audio, np.zeros(padding, np.int16)])
        self._forward(session, audio, len(audio) // HOP, last=True)

    def _next_end(self, session: Session) -> int:
        return session.emitted + (self._shift if session.emitted else self.first_chunk)

    def _forward(self, session: Session, audio: NDArray[np.int16], end: int, *, last: bool) -> None:
        import torch

        began_s, encoder = time.monotonic(), self._model.encoder
        weights = next(encoder.parameters())
        device, dtype = weights.device, weights.dtype
        first = session.emitted == 0
        with torch.inference_mode():
            signal = torch.from_numpy(audio.astype(np.float32) / 32768)[None].to(device)
            mel, _ = self._model.preprocessor(
                input_signal=signal, length=torch.tensor([signal.shape[1]], device=device)
            )
            chunk = mel[:, :, max(0, session.emitted - (0 if first else self._history)) : end].to(dtype)
            caches = encoder.get_initial_cache_state(batch_size=1, dtype=dtype) if first else session.caches
            _, _, *caches, hypotheses = self._model.conformer_stream_step(
                processed_signal=chunk,
                processed_signal_length=torch.tensor([chunk.shape[-1]], device=device),
                cache_last_channel=caches[0],
                cache_last_time=caches[1],
                cache_last_channel_len=caches[2],
                keep_all_outputs=last,
                previous_hypotheses=session.hypotheses,
                drop_extra_pre_encoded=0 if first else encoder.streaming_cfg.drop_extra_pre_encoded,
                return_transcription=True,
            )
        session.caches, session.hypotheses, session.emitted = caches, hypotheses, end
        session.text = hypotheses[0].text or ""
        kind = "flush" if last else "live"
        before = self.work[kind]
        self.work[kind] = Work(before.runs + 1, before.seconds + time.monotonic() - began_s)
