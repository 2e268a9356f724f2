"""NeMo's own decoding loop, frame by frame and without a cache: what `do_tts` does inside, for the baseline."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from nemo.collections.tts.modules.magpietts_modules import EOSDetectionMethod
from nemo.collections.tts.parts.utils.helpers import get_mask_from_lengths


@torch.inference_mode()
def frame_by_frame(magpie: Any, tokens: Sequence[int], *, most: float, endless: bool) -> Iterator[Any]:
    """The codes of each step, (1, codebooks, frames a step), with guidance and the attention prior."""
    device, frames = magpie.device, magpie.frame_stacking_factor
    text = {
        "text": torch.tensor([list(tokens)], device=device),
        "text_lens": torch.tensor([len(tokens)], device=device),
    }
    context = magpie.prepare_context_tensors({**text, "speaker_indices": torch.tensor([0], device=device)})
    no_text = magpie.prepare_dummy_cond_for_cfg(
        context.cond, context.cond_mask, context.additional_decoder_input, context.additional_decoder_mask
    )[:4]
    codes = torch.full((1, magpie.num_audio_codebooks, frames), magpie.audio_bos_id, device=device)
    guide = _Guide(magpie, context)
    options = magpie.inference_parameters
    for step in range(int(min(most, options.max_decoder_steps)) // frames):
        inputs, lengths = magpie.embed_audio_tokens(
            audio_tokens=codes, audio_tokens_lens=torch.tensor([codes.shape[2]], device=device)
        )
        inputs = torch.cat([context.additional_decoder_input, inputs], 1)
        mask = torch.cat([context.additional_decoder_mask, get_mask_from_lengths(lengths)], 1)
        logits, attention, hidden = magpie._run_chunked_forward_with_cfg(
            context, inputs, mask, guide.prior, True, options.cfg_scale, *no_text, batch_size=1
        )
        guide.follow(attention)
        forbidden = endless or step * frames < options.min_generated_frames
        drawn, ended = _drawn(magpie, hidden[:, -1], logits[:, -1], forbidden)
        if ended:
            return
        codes = torch.cat([codes, drawn], 2)
        yield drawn


class _Guide:
    """The attention prior of the next step, by NeMo's own methods."""

    def __init__(self, magpie: Any, context: Any) -> None:
        self._magpie = magpie
        self._context = context
        self._last = [[1]]
        self._counts: list[dict[int, int]] = [{}]
        self.prior: Any = None

    def follow(self, attention: Any) -> None:
        magpie, options = self._magpie, self._magpie.inference_parameters
        if not options.apply_attention_prior:
            return
        scores, _ = magpie.get_cross_attention_scores(attention, filter_layers=options.estimate_alignment_from_layers)
        attended, self._counts = magpie.get_most_attended_text_timestep(
            scores, self._last, self._context.text_lens, options.attention_prior_lookahead_window, self._counts, 1
        )
        self._last.append(attended)
        window = options.attention_prior_lookahead_window
        prior, _, _ = magpie.construct_inference_prior(
            options.attention_prior_epsilon,
            scores,
            self._context.text_lens,
            attended,
            self._counts,
            {},
            {},
            {},
            window,
            1,
        )
        self.prior = prior
        if options.apply_prior_to_layers is not None:
            guided = options.apply_prior_to_layers
            self.prior = [prior if layer in guided else None for layer in range(magpie.decoder.n_layers)]


def _drawn(magpie: Any, hidden: Any, logits: Any, forbidden: bool) -> tuple[Any, bool]:
    options = magpie.inference_parameters
    drawn = magpie._lt_helper.sample_autoregressive(
        hidden,
        temperature=options.temperature,
        topk=options.topk,
        use_cfg=True,
        cfg_scale=options.cfg_scale,
        use_kv_cache=False,
        forbid_audio_eos=forbidden,
    )
    likeliest = magpie.sample_codes_from_logits(logits, temperature=0.01, topk=1, forbid_audio_eos=forbidden)
    end = magpie.detect_eos(drawn[0], likeliest[0], EOSDetectionMethod(options.eos_detection_method))
    return drawn, not forbidden and end != float("inf")


@torch.inference_mode()
def decoded(magpie: Any, codes: Sequence[Any], start: int, heard: int, stop: int) -> np.ndarray[Any, Any]:
    """The samples of the frames from `heard` to `stop`, decoded from `start`."""
    window = torch.cat(list(codes), 2)[:, :, start:stop]
    audio = magpie._codec_helper.codes_to_audio(window, torch.tensor([window.shape[2]], device=window.device))[0]
    samples: np.ndarray[Any, Any] = audio[0, (heard - start) * magpie.codec_model_samples_per_frame :].cpu().numpy()
    return samples
