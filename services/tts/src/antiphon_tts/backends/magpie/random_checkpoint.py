"""Checkpoints of Magpie's architecture with random weights: for tests and benches, where no weights are.

`antiphon-tts-random tiny.nemo` makes a Magpie and its codec, tiny.codec.nemo. What it says is noise without an end, but
always the same: set FRAMES_PER_TOKEN with it. `--size full` is as wide and deep as the released model; `--look-ahead`
makes a codec that is not causal.
"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPEAKERS, CONTEXT_FRAMES = 5, 110
RATE_HZ, SAMPLES_PER_FRAME = 22_050, 1024
TTS = "nemo.collections.tts"


@dataclass(frozen=True, slots=True)
class Size:
    """Layers and widths; `upsampling` from a frame to its samples, `channels` of the codec's first layer."""

    encoder_layers: int
    decoder_layers: int
    width: int
    heads: int
    text_head_width: int
    local_width: int
    codec_width: int
    channels: int
    upsampling: tuple[int, ...]


SIZES = {
    "tiny": Size(2, 2, 64, 4, 32, 32, 32, 32, (16, 8, 4, 2)),
    "mid": Size(3, 6, 256, 4, 64, 128, 32, 128, (8, 8, 4, 2, 2)),
    # As in NeMo's examples/tts/conf/magpietts/magpietts_multilingual_v2_lhotse.yaml, the codec as its NanoCodec at 21.5
    # frames a second: 241 and 32 million parameters. That the released 357 million are built alike is assumed.
    "full": Size(6, 12, 768, 12, 128, 256, 32, 864, (8, 8, 4, 2, 2)),
}


def make(path: Path, size: Size = SIZES["tiny"], *, seed: int = 0, look_ahead: bool = False, stacked: int = 1) -> Path:
    """Writes the model to `path`, a .nemo file, and returns where its codec is. The same seed makes the same weights.

    `stacked` frames come of each step.
    """
    import torch
    from nemo.collections.tts.models import AudioCodecModel
    from nemo.collections.tts.models.magpietts import MagpieTTSModel
    from nemo.utils import logging as nemo_logging
    from omegaconf import OmegaConf

    nemo_logging.setLevel(logging.ERROR)
    torch.manual_seed(seed)
    codec_path = path.with_suffix(".codec.nemo").absolute()
    codec = AudioCodecModel(cfg=OmegaConf.create(_codec(size, look_ahead=look_ahead)))
    codec.eval().save_to(str(codec_path))
    magpie = MagpieTTSModel(cfg=OmegaConf.create(_magpie(size, codec_path, stacked)))
    magpie.baked_context_embedding = torch.nn.Embedding(SPEAKERS, CONTEXT_FRAMES * size.width)
    magpie._baked_embedding_T = torch.tensor(CONTEXT_FRAMES)
    magpie._baked_embedding_D = torch.tensor(size.width)
    magpie.baked_context_embedding_len = torch.full((SPEAKERS,), CONTEXT_FRAMES)
    magpie.eval().save_to(str(path))
    return codec_path


def _codec(size: Size, *, look_ahead: bool) -> dict[str, Any]:
    modules, losses = f"{TTS}.modules.audio_codec_modules", f"{TTS}.losses.audio_codec_loss"
    return {
        "sample_rate": RATE_HZ,
        "samples_per_frame": SAMPLES_PER_FRAME,
        "loss_resolutions": [[960, 240, 960]],
        "mel_loss_dims": [80],
        "commit_loss_scale": 0.0,
        "audio_encoder": {
            "_target_": f"{modules}.HiFiGANEncoder",
            "encoded_dim": size.codec_width,
            "down_sample_rates": list(reversed(size.upsampling)),
            "base_channels": 4,
        },
        "audio_decoder": {
            "_target_": f"{modules}.{'HiFiGANDecoder' if look_ahead else 'CausalHiFiGANDecoder'}",
            "input_dim": size.codec_width,
            "up_sample_rates": list(size.upsampling),
            "base_channels": size.channels,
            "activation": "half_snake",
            "output_activation": "clamp",
        },
        "vector_quantizer": {
            "_target_": f"{modules}.GroupFiniteScalarQuantizer",
            "num_groups": 8,
            "num_levels_per_group": [8, 7, 6, 6],
        },
        "generator_loss": {"_target_": f"{losses}.GeneratorSquaredLoss"},
        "discriminator_loss": {"_target_": f"{losses}.DiscriminatorSquaredLoss"},
        "discriminator": None,
        "train_ds": None,
        "validation_ds": None,
    }


def _magpie(size: Size, codec: Path, stacked: int) -> dict[str, Any]:
    return {
        "model_type": "decoder_ce",
        "codecmodel_path": str(codec),
        "embedding_dim": size.width,
        "hidden_dim": size.width,
        "use_text_conditioning_encoder": False,
        "context_duration_min": 5.0,
        "context_duration_max": 5.0,
        "use_kv_cache_for_inference": True,
        "local_transformer_type": "autoregressive",
        "local_transformer_n_layers": 1,
        "local_transformer_n_heads": 1,
        "local_transformer_hidden_dim": size.local_width,
        "frame_stacking_factor": stacked,
        "cfg_unconditional_prob": 0.1,
        "alignment_loss_scale": 0.0,
        "prior_scaling_factor": None,
        "prior_end_step": 0,
        "prior_scaledown_start_step": 0,
        "inference_parameters": {"max_decoder_steps": 500, "temperature": 0.7, "topk": 80, "cfg_scale": 2.5},
        "text_tokenizers": {
            "english_phoneme": {
                "_target_": "nemo.collections.common.tokenizers.text_to_speech.tts_tokenizers.EnglishCharsTokenizer",
                "punct": True,
                "apostrophe": True,
                "pad_with_space": False,
                "add_blank_at": None,
            }
        },
        **_transformers(size),
        "train_ds": None,
        "validation_ds": None,
        "test_ds": None,
        "optim": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
    }


def _transformers(size: Size) -> dict[str, Any]:
    common = {
        "d_model": size.width,
        "d_ffn": 4 * size.width,
        "sa_n_heads": size.heads,
        "p_dropout": 0.0,
        "p_dropout_out": 0.0,
        "use_learnable_pos_emb": True,
        "max_length_causal_mask": 2048,
    }
    look_at_text = {
        "has_xattn": True,
        "xa_d_memory": size.width,
        "xa_n_heads": 1,
        "xa_d_head": size.text_head_width,
        "apply_norm_to_cond": True,
        "make_prior_window_strict": True,
    }
    decoder = {"n_layers": size.decoder_layers, "kernel_size": 1, "is_causal": True, **look_at_text, **common}
    return {
        "encoder": {"n_layers": size.encoder_layers, "kernel_size": 3, "is_causal": True, **common},
        "context_encoder": {"n_layers": 1, "kernel_size": 3, "is_causal": False, **common},
        "decoder": decoder,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A Magpie checkpoint with random weights.")
    parser.add_argument("path", type=Path, help="where to write it, such as tiny.nemo")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--look-ahead", action="store_true", help="with a codec that is not causal")
    parser.add_argument("--stacked", type=int, default=1, help="frames of a step")
    options = parser.parse_args()
    codec = make(
        options.path, SIZES[options.size], seed=options.seed, look_ahead=options.look_ahead, stacked=options.stacked
    )
    for made in (options.path, codec):
        print(f"{made}: {options.size}, {made.stat().st_size / 1e6:.1f} MB")
