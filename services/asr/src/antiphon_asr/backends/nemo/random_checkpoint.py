"""Checkpoints of Nemotron Speech's architecture with random weights: for tests and benches, where no weights are.

`antiphon-asr-random tiny.nemo` makes a cache-aware FastConformer RNNT that hears nothing sensible, but always the same:
tokens for sounds, other ones for other sounds, none for silence. `--size full` has the shape of the 0.6B model.
"""

import argparse
import itertools
import logging
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What its tokenizer is made from.
TEXT = (
    "the quick brown fox jumps over lazy dog hello world how are you today i am fine thanks what time is it now please "
    "call me back later okay bye yes no maybe when where why which one two three four five six seven eight nine ten"
)
CONTEXTS = ((70, 13), (70, 6), (70, 1), (70, 0))
# What NVIDIA's figures of streams per GPU are given for.
PUBLISHED_CONTEXT = (56, 3)
# Hidden units of the joint network with a meaning of their own, and how strongly they speak.
SILENT, ODD, EVEN = 0, 1, 2
FORBID = 30.0
# What the prediction network says of an odd last token: tanh(tanh(20)).
SIDE = 0.7616
# How far from the middle a swing has to be, in standard deviations, and how often it is wanted: about 4 times a second.
SWING = 0.2
TURNS_PER_FRAME = 0.3


@dataclass(frozen=True, slots=True)
class Size:
    """Layers and widths; `vocabulary` in BPE pieces."""

    layers: int
    width: int
    heads: int
    channels: int
    mels: int
    prediction_layers: int
    prediction_width: int
    vocabulary: int


SIZES = {
    "tiny": Size(2, 64, 4, 32, 80, 1, 64, 96),
    "mid": Size(8, 256, 4, 128, 80, 1, 320, 96),
    # FastConformer's largest shape, which has 0.6 billion parameters; that Nemotron Speech's is this one is assumed.
    "full": Size(24, 1024, 8, 256, 128, 2, 640, 96),
}


def make(path: Path, size: Size = SIZES["tiny"], seed: int = 0) -> None:
    """Writes the checkpoint to `path`, a .nemo file. The same seed makes the same weights."""
    import torch
    from nemo.collections.asr.models import EncDecRNNTBPEModel
    from nemo.utils import logging as nemo_logging
    from omegaconf import OmegaConf

    nemo_logging.setLevel(logging.ERROR)
    random.seed(seed)
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        _train_tokenizer(Path(folder), size.vocabulary, seed)
        model = EncDecRNNTBPEModel(cfg=OmegaConf.create(_config(folder, size)))
        model.eval()
        with torch.no_grad():
            _calibrate(model, seed)
        model.save_to(str(path))


def _train_tokenizer(folder: Path, vocabulary: int, seed: int) -> None:
    import sentencepiece

    rng = random.Random(seed)
    text = folder / "text"
    text.write_text("\n".join(" ".join(rng.choices(TEXT.split(), k=8)) for _ in range(800)))
    sentencepiece.SentencePieceTrainer.Train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=vocabulary,
        model_type="bpe",
        character_coverage=1.0,
        bos_id=-1,
        eos_id=-1,
        unk_id=0,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    names = [pieces.id_to_piece(index) for index in range(1, pieces.get_piece_size())]
    spelled = (name[1:] if name.startswith("▁") else f"##{name}" for name in names)
    (folder / "vocab.txt").write_text("".join(f"{name}\n" for name in spelled))


def _config(tokenizer: str, size: Size) -> dict[str, Any]:
    asr = "nemo.collections.asr.modules"
    joint = {"joint_hidden": size.prediction_width, "activation": "relu", "dropout": 0.0}
    return {
        "sample_rate": 16_000,
        "labels": None,
        "log_prediction": False,
        "compute_eval_loss": False,
        "skip_nan_grad": False,
        "rnnt_reduction": "mean_volume",
        "model_defaults": {
            "enc_hidden": size.width,
            "pred_hidden": size.prediction_width,
            "joint_hidden": size.prediction_width,
        },
        "train_ds": None,
        "validation_ds": None,
        "test_ds": None,
        "tokenizer": {"dir": tokenizer, "type": "bpe"},
        "preprocessor": {
            "_target_": f"{asr}.AudioToMelSpectrogramPreprocessor",
            "sample_rate": 16_000,
            "normalize": "NA",
            "window_size": 0.025,
            "window_stride": 0.01,
            "window": "hann",
            "features": size.mels,
            "n_fft": 512,
            "log": True,
            "frame_splicing": 1,
            "dither": 0.0,
            "pad_to": 0,
        },
        "encoder": {"_target_": f"{asr}.ConformerEncoder", **_encoder(size)},
        "decoder": {
            "_target_": f"{asr}.RNNTDecoder",
            "normalization_mode": None,
            "random_state_sampling": False,
            "blank_as_pad": True,
            "prednet": {
                "pred_hidden": size.prediction_width,
                "pred_rnn_layers": size.prediction_layers,
                "t_max": None,
                "dropout": 0.0,
            },
        },
        "joint": {
            "_target_": f"{asr}.RNNTJoint",
            "log_softmax": None,
            "preserve_memory": False,
            "fuse_loss_wer": False,
            "fused_batch_size": 4,
            "jointnet": joint,
        },
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "default"},
        "optim": {"name": "adamw", "lr": 1e-3},
    }


def _encoder(size: Size) -> dict[str, Any]:
    return {
        "feat_in": size.mels,
        "feat_out": -1,
        "n_layers": size.layers,
        "d_model": size.width,
        "use_bias": True,
        "subsampling": "dw_striding",
        "subsampling_factor": 8,
        "subsampling_conv_channels": size.channels,
        "causal_downsampling": True,
        "ff_expansion_factor": 4,
        "self_attention_model": "rel_pos",
        "n_heads": size.heads,
        "att_context_size": [list(context) for context in (*CONTEXTS, PUBLISHED_CONTEXT)],
        "att_context_style": "chunked_limited",
        "xscaling": False,
        "untie_biases": True,
        "pos_emb_max_len": 5000,
        "conv_kernel_size": 9,
        "conv_norm_type": "layer_norm",
        "conv_context_size": "causal",
        "dropout": 0.0,
        "dropout_pre_encoder": 0.0,
        "dropout_emb": 0.0,
        "dropout_att": 0.0,
    }


def _calibrate(model: Any, seed: int) -> None:
    """Sets the joint and the prediction network so that sounds emit a token now and then, and silence none.

    A random encoder says nearly the same of all sounds; what they have in common is taken off. Of what is left one
    direction swings with the sound, and a token is emitted each time it has swung to the other side: one of the odd
    pieces on one side, of the even ones on the other, the rest of the random network says which. Three hidden units do
    it: SILENT, which speaks for blank, and ODD and EVEN, which are on at their side unless the last token was of it.
    """
    import torch

    contexts = (*CONTEXTS, PUBLISHED_CONTEXT)
    sound = torch.cat([_sound(model, seed + n, context) for n, context in enumerate(contexts)])
    silence = torch.cat([_encoded(model, torch.zeros(32_000), context) for context in contexts])
    center = sound.mean(0)
    toward = _apart(sound - center, silence - center)
    loudest, quietest = ((sound - center) @ toward).max(), ((silence - center) @ toward).min()
    swing = _swing(sound - center, toward)
    joint, output, blank = model.joint, model.joint.joint_net[-1], model.decoder.blank_idx
    joint.enc.weight.sub_(torch.outer(joint.enc.weight @ toward, toward))
    joint.enc.weight.mul_(2.0 / ((sound - center) @ joint.enc.weight.T).std())
    joint.enc.weight[SILENT] = toward / (quietest - loudest)
    joint.enc.weight[ODD], joint.enc.weight[EVEN] = swing, -swing
    joint.enc.bias.copy_(-(joint.enc.weight @ center))
    joint.enc.bias[SILENT] -= loudest / (quietest - loudest) + 0.5
    joint.enc.bias[ODD] -= SWING
    joint.enc.bias[EVEN] -= SWING
    _remember_side(model.decoder)
    joint.pred.weight[: EVEN + 1] = joint.pred.bias[: EVEN + 1] = 0
    joint.pred.weight[ODD, 0], joint.pred.weight[EVEN, 0] = -FORBID / SIDE, FORBID / SIDE
    joint.pred.bias[ODD] = joint.pred.bias[EVEN] = -FORBID
    output.weight.mul_(1.0 / output.weight.norm(dim=1, keepdim=True))
    output.weight[:, : EVEN + 1] = 0
    output.weight[blank, SILENT] = 500 * FORBID
    output.weight[1:blank:2, ODD] = output.weight[0:blank:2, EVEN] = FORBID
    # No piece reaches this but with its side's unit on.
    output.bias[blank] = 14.0


def _sound(model: Any, seed: int, context: tuple[int, int]) -> Any:
    """What the encoder says of sounds: at the start of the audio, and after some silence, which it long remembers."""
    import torch

    sound, frame = sounds(6.0, seed), 1280
    heard = []
    for silent_frames in (0, 20, 60):
        audio = torch.cat([torch.zeros(silent_frames * frame), sound])
        # The onset is neither silence nor sound yet.
        heard.append(_encoded(model, audio, context)[silent_frames + (3 if silent_frames else 0) :])
    return torch.cat(heard)


def _apart(sound: Any, silence: Any) -> Any:
    """The direction along which silence is told from sound, by least squares."""
    import torch

    frames = torch.cat([sound, silence])
    is_silence = torch.cat([torch.zeros(len(sound)), torch.ones(len(silence))])
    ridge = 1e-4 * len(frames) * frames.var() * torch.eye(frames.shape[1])
    return torch.nn.functional.normalize(torch.linalg.solve(frames.T @ frames + ridge, frames.T @ is_silence), dim=0)


def _remember_side(decoder: Any) -> None:
    """Makes the prediction network's first unit say of which side the last token was: SIDE for odd, -SIDE for even."""
    import torch

    embedding, rnn = decoder.prediction["embed"], decoder.prediction["dec_rnn"].lstm
    embedding.weight[:, 0] = 0
    embedding.weight[1 : decoder.blank_idx : 2, 0] = 1
    width = rnn.hidden_size
    for layer in range(rnn.num_layers):
        into, back = getattr(rnn, f"weight_ih_l{layer}"), getattr(rnn, f"weight_hh_l{layer}")
        bias, other = getattr(rnn, f"bias_ih_l{layer}"), getattr(rnn, f"bias_hh_l{layer}")
        # The gates are in, forget, cell and out; only the cell looks at its input, and nothing is kept.
        for gate, value in enumerate((20.0, -20.0, -20.0 if layer == 0 else 0.0, 20.0)):
            row = gate * width
            into[row], back[row], other[row], bias[row] = torch.zeros(()), torch.zeros(()), 0.0, value
        into[2 * width, 0] = 40.0


def _swing(sound: Any, toward: Any) -> Any:
    """A direction in which the frames `sound` swing to and fro about TURNS_PER_FRAME often, across `toward`."""
    import torch

    flat = sound - torch.outer(sound @ toward, toward)
    directions = torch.linalg.svd(flat, full_matrices=False)[2][:16]
    scaled = [direction / (flat @ direction).std() for direction in directions]
    return min(scaled, key=lambda direction: abs(_turns(flat @ direction) / len(flat) - TURNS_PER_FRAME))


def _turns(values: Any) -> int:
    """How often the values go from over SWING to under -SWING or back."""
    sides = [value > 0 for value in values.tolist() if abs(value) > SWING]
    return sum(a != b for a, b in itertools.pairwise(sides))


def _encoded(model: Any, audio: Any, context: tuple[int, int] = CONTEXTS[0]) -> Any:
    """What the encoder says of the audio: (frames, width)."""
    import torch

    model.encoder.set_default_att_context_size(list(context))
    features, lengths = model.preprocessor(input_signal=audio[None], length=torch.tensor([len(audio)]))
    return model.encoder(audio_signal=features, length=lengths)[0][0].T


def sounds(seconds: float, seed: int) -> Any:
    """Bursts of gliding tones over noise, other ones for each seed: (samples,) at 16 kHz, -1 to 1."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(int(seconds * 16_000)) / 16_000
    rate, depth, phase = (0.5 + 2 * torch.rand(3, generator=generator)).tolist()
    pitch = 400 + 300 * torch.sin(2 * torch.pi * rate * t + phase)
    tone = torch.sin(2 * torch.pi * torch.cumsum(pitch, 0) / 16_000) + 0.5 * torch.sin(
        4 * torch.pi * torch.cumsum(pitch, 0) / 16_000
    )
    bursts = (torch.sin(2 * torch.pi * depth * t + phase) > -0.3).float()
    return 0.3 * tone * bursts + 0.02 * torch.randn(len(t), generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser(description="A streaming RNNT checkpoint with random weights.")
    parser.add_argument("path", type=Path, help="where to write it, such as tiny.nemo")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make(arguments.path, SIZES[arguments.size], arguments.seed)
    print(f"{arguments.path}: {arguments.size}, {arguments.path.stat().st_size / 1e6:.1f} MB")
