"""A cache-aware streaming RNNT of NeMo: one batched step over any of its streams, exact to the whole audio's result."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from nemo.collections.asr.modules import RNNTDecoder
from nemo.collections.asr.parts.submodules.transducer_decoding.label_looping_base import BatchedLabelLoopingState
from nemo.collections.asr.parts.submodules.transducer_decoding.rnnt_label_looping import (
    GreedyBatchedRNNTLabelLoopingComputer,
)
from nemo.collections.asr.parts.utils.asr_confidence_utils import ConfidenceMethodConfig
from omegaconf import OmegaConf

from antiphon_runtime.errors import ConfigError

from .context import HOP, LEAD_IN, RATE_HZ, Context
from .pool import Pool, Shape, State
from .row import Row
from .tokens import Token

# NeMo's own limit of symbols per encoder frame in its streaming configurations.
MAX_SYMBOLS = 10


@dataclass(frozen=True, slots=True)
class Mode:
    """A context as the encoder wants to be told of it, for the first step and for later ones."""

    att_context_size: list[int]
    first: Any
    later: Any


class StreamingModel:
    """Weights on one device and what is needed to step streams through them. Used by one thread.

    `model` is a cache-aware EncDecRNNTBPEModel; ConfigError says what is missing when it is none. `buckets` are the
    batch sizes that steps are padded to, none for any size. `compiled` is a mode of torch.compile, "" for none; the
    compiler takes batches of two and more.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        dtype: torch.dtype,
        *,
        buckets: Sequence[int] = (),
        cuda_graphs: bool = False,
        compiled: str = "",
    ) -> None:
        check(model)
        self.model = model.eval().to(device)
        self.device = device
        self.dtype = dtype
        self._preprocessor = _exact_preprocessor(model).to(device)
        for part in (model.encoder, model.decoder, model.joint):
            part.to(dtype)
        self._encoder = model.encoder
        self._modes = _modes(model.encoder, self._preprocessor.featurizer)
        self.contexts = tuple(sorted(self._modes, key=lambda context: context.ms))
        self._decode = self._decoder(confidence=False, cuda_graphs=cuda_graphs)
        self._decode_with_confidence = self._decoder(confidence=True, cuda_graphs=cuda_graphs)
        self.buckets = tuple(sorted(buckets))
        self._compile_mode = compiled
        self._compiled: dict[Context, Callable[..., Any]] = {}
        self._pieces = model.tokenizer.ids_to_tokens(list(range(model.tokenizer.vocab_size)))

    @property
    def shape(self) -> Shape:
        encoder, decoder = self._encoder, self.model.decoder
        return Shape(
            layers=len(encoder.layers),
            width=encoder.d_model,
            left=max(context.left for context in self.contexts),
            convolution=encoder.conv_context_size[0],
            prediction_layers=decoder.pred_rnn_layers,
            prediction_width=decoder.pred_hidden,
            joint_width=self.model.joint.joint_hidden,
        )

    def text(self, ids: Sequence[int]) -> str:
        return str(self.model.tokenizer.ids_to_text(list(ids))).strip() if ids else ""

    def begins_word(self, token: int) -> bool:
        return str(self._pieces[token]).startswith("▁")

    @staticmethod
    def is_lost(error: Exception) -> bool:
        """Whether the device is gone for good: after an error of its own, CUDA answers nothing any more."""
        return isinstance(error, torch.AcceleratorError)

    @torch.inference_mode()
    def step(self, pool: Pool, context: Context, rows: Sequence[Row], *, confidence: bool = False) -> list[list[Token]]:
        """Takes each row one step on and gives the tokens that it emitted. All rows are at their first step, or none.

        The pool is written to last: after an exception it is as it was.
        """
        padded = [*rows, *self._padding(rows)]
        encoded, channel, time, state = self._encode(pool, context, padded)
        decode = self._decode_with_confidence if confidence else self._decode
        hypotheses, left = decode(*_output(encoded), prev_batched_state=state)
        emitted = _emitted(hypotheses, len(rows), encoded.shape[2] * MAX_SYMBOLS, confidence)
        pool.write(padded, encoded.shape[2], channel, time, left)
        return emitted

    @torch.inference_mode()
    def decoded_both_ways(self, pool: Pool, context: Context, rows: Sequence[Row]) -> tuple[Any, Any]:
        """The tokens of one step as production decodes it, and as plain torch does; states stay as they are.

        Each without confidences and with them, at the batch size that production would have.
        """
        encoded, _, _, state = self._encode(pool, context, [*rows, *self._padding(rows)])
        output, most = _output(encoded), encoded.shape[2] * MAX_SYMBOLS

        def tokens(decode: Callable[..., Any]) -> list[list[Token]]:
            return _emitted(decode(*output, prev_batched_state=state)[0], len(rows), most, False)

        decoders = (self._decode, self._decode_with_confidence)
        return [tokens(decode) for decode in decoders], [tokens(decode.torch_impl) for decode in decoders]

    def _encode(self, pool: Pool, context: Context, rows: Sequence[Row]) -> Any:
        first = rows[0].step == 0
        state = pool.read(rows, context.left)
        features = self._features(rows)
        mode = self._modes[context]
        self._encoder.att_context_size = mode.att_context_size
        self._encoder.streaming_cfg = mode.first if first else mode.later
        length = torch.full((len(rows),), features.shape[-1], device=self.device)
        forward = self._forward(context, first)
        encoded, _, channel, time, _ = forward(features, length, state.channel, state.time, state.channel_length)
        return encoded, channel, time, None if first else _looping(state)

    def _features(self, rows: Sequence[Row]) -> torch.Tensor:
        """Mel features of the rows' windows, (batch, mels, frames), as the whole audio has them."""
        pcm = torch.from_numpy(np.stack([row.window for row in rows])).to(self.device, non_blocking=True)
        audio = pcm.to(torch.float32) / 32768
        length = torch.full((len(rows),), audio.shape[1], device=self.device)
        mel, _ = self._preprocessor(input_signal=audio, length=length)
        frames = audio.shape[1] // self._preprocessor.featurizer.hop_length
        features: torch.Tensor = mel[:, :, LEAD_IN:frames].to(self.dtype)
        return features

    def _padding(self, rows: Sequence[Row]) -> list[Row]:
        """The first row again, as often as the bucket has room: it writes the same to the same place."""
        wanted = next((size for size in self.buckets if size >= len(rows)), len(rows))
        return [rows[0]] * (wanted - len(rows))

    def _forward(self, context: Context, first: bool) -> Callable[..., Any]:
        # A stream has one first step: that is not worth a compilation.
        if first or not self._compile_mode:
            return self._encoder.forward_internal
        if context not in self._compiled:
            self._compiled[context] = _compiled(self._encoder, f"encoder_{context.ms}", self._compile_mode)
        return self._compiled[context]

    def _decoder(self, *, confidence: bool, cuda_graphs: bool) -> GreedyBatchedRNNTLabelLoopingComputer:
        return GreedyBatchedRNNTLabelLoopingComputer(
            decoder=self.model.decoder,
            joint=self.model.joint,
            blank_index=self.model.decoder.blank_idx,
            max_symbols_per_step=MAX_SYMBOLS,
            preserve_step_confidence=confidence,
            exclude_blank_from_confidence=True,
            confidence_method_cfg=OmegaConf.structured(ConfidenceMethodConfig()) if confidence else None,
            allow_cuda_graphs=cuda_graphs,
        )


def check(model: Any) -> None:
    """Raises ConfigError for a model that cannot be streamed exactly, and says why."""
    encoder = getattr(model, "encoder", None)
    preprocessor = model.cfg.preprocessor
    wrong = next(
        (
            what
            for what, bad in (
                ("it is no RNNT with an LSTM", not isinstance(getattr(model, "decoder", None), RNNTDecoder)),
                ("its encoder is not cache-aware", getattr(encoder, "att_context_style", "") != "chunked_limited"),
                ("it has no BPE tokenizer", not hasattr(model, "tokenizer")),
                ("its features are normalized over the whole audio", preprocessor.get("normalize") not in (None, "NA")),
                (f"it is not for {RATE_HZ} Hz", preprocessor.sample_rate != RATE_HZ),
                ("its windows are longer than 60 ms", preprocessor.n_fft // 2 >= LEAD_IN * HOP),
                ("its hop is not 10 ms", round(preprocessor.window_stride * RATE_HZ) != HOP),
            )
            if bad
        ),
        None,
    )
    if wrong:
        raise ConfigError(f"this checkpoint cannot be streamed: {wrong}")


def _exact_preprocessor(model: Any) -> Any:
    # Neither noise nor padding: both would change with how the audio is cut.
    return model.from_config_dict(OmegaConf.merge(model.cfg.preprocessor, {"dither": 0.0, "pad_to": 0})).eval()


def _modes(encoder: Any, featurizer: Any) -> dict[Context, Mode]:
    """The contexts that the checkpoint was trained for."""
    modes = {}
    for left, right in encoder.att_context_size_all:
        if left < 0 or right < 0:
            continue  # the whole audio at once
        encoder.set_default_att_context_size([left, right])
        later = encoder.streaming_cfg
        context = Context(
            left=left,
            right=right,
            factor=encoder.subsampling_factor,
            history=later.pre_encode_cache_size[1],
            half_window=featurizer.n_fft // 2,
        )
        first = copy.deepcopy(later)
        # The first chunk has no history in front of it whose outputs would have to go.
        first.drop_extra_pre_encoded = 0
        modes[context] = Mode([left, right], first, later)
    if not modes:
        raise ConfigError("this checkpoint cannot be streamed: it has no limited attention context")
    return modes


def _compiled(encoder: Any, name: str, mode: str) -> Callable[..., Any]:
    """The encoder's forward pass for one context, compiled at its first call for any batch of two or more.

    A code object of its own each: torch keeps the compiled variants by code object, and looks through all of them.
    """

    def forward(features: Any, length: Any, channel: Any, time: Any, channel_length: Any) -> Any:
        return encoder.forward_internal(features, length, channel, time, channel_length)

    forward.__code__ = forward.__code__.replace(co_name=name)
    compiled = torch.compile(forward, mode=mode)

    def of_any_batch(features: Any, length: Any, channel: Any, time: Any, channel_length: Any) -> Any:
        for tensor, axis in ((features, 0), (length, 0), (channel, 1), (time, 1), (channel_length, 0)):
            torch._dynamo.mark_dynamic(tensor, axis)
        return compiled(features, length, channel, time, channel_length)

    return of_any_batch


def _output(encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An encoder's output as the decoders take it: (batch, frames, width), and the frames of each."""
    lengths = torch.full((encoded.shape[0],), encoded.shape[2], device=encoded.device)
    return encoded.transpose(1, 2), lengths


def _looping(state: State) -> Any:
    return BatchedLabelLoopingState(
        predictor_states=state.prediction,
        predictor_outputs=state.prediction_output,
        labels=state.label,
        decoded_lengths=state.decoded,
    )


def _emitted(hypotheses: Any, count: int, most: int, confidence: bool) -> list[list[Token]]:
    """The hypotheses' first `count` rows, of at most `most` tokens each, fetched from the device at once.

    A graph's own buffers are as wide as the longest audio it could take.
    """
    lengths = hypotheses.current_lengths[:count, None]
    ids, frames = hypotheses.transcript[:count, :most], hypotheses.timestamps[:count, :most]
    width = ids.shape[1]
    fetched = torch.cat([lengths, ids, frames], 1).tolist()
    sure = hypotheses.step_confidence[:count, :most].float().tolist() if confidence else [[None] * width] * count
    return [
        [Token(row[1 + at], row[1 + width + at], sure[index][at]) for at in range(row[0])]
        for index, row in enumerate(fetched)
    ]
