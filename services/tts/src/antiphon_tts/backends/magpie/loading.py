"""From settings to an engine that is warm. Importing this imports torch and NeMo, which takes seconds."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nemo.collections.tts.models.magpietts import MagpieTTSModel
from nemo.utils import logging as nemo_logging
from omegaconf import open_dict

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.stepping import host_bytes

from .. import Sampling
from .engine import Engine
from .model import SlotModel, default_rule, shape_of
from .prompt import Drawing, Prompt
from .schedule import Limits
from .settings import PREFIX, MagpieSettings
from .slots import Slots
from .text import Reader, make_reader
from .vocoder import Field, Vocoder, Window, measure

log = logging.getLogger(__name__)

# Where a device is too slow for more long before its memory is full.
MOST_SLOTS = {"cuda": 256, "cpu": 16}
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def find_device(wanted: str) -> torch.device:
    """The device that a setting names. Raises ConfigError when it is not there."""
    if wanted == "auto":
        return torch.device("cuda", 0) if torch.cuda.device_count() else torch.device("cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(f"{PREFIX}DEVICE: {wanted!r} is no device, such as cpu or cuda:0") from error
    if device.type not in ("cuda", "cpu"):
        raise ConfigError(f"{PREFIX}DEVICE: {wanted!r} is neither a GPU nor the cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"{PREFIX}DEVICE: {wanted} is not there: torch sees {torch.cuda.device_count()} GPUs")
    return device


def load_magpie(own: MagpieSettings, device: torch.device) -> Any:
    """NeMo's model on its device. Raises ConfigError when it cannot be had, or is not of the kind that is served."""
    nemo_logging.setLevel(logging.ERROR)
    torch.set_num_threads(own.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = own.tf32
    magpie = checkpoint(own.model, own.codec)
    if (unfit := _unfit(magpie)) is not None:
        raise ConfigError(f"{PREFIX}MODEL: {own.model} {unfit}")
    half = own.dtype == "bfloat16" or (own.dtype == "auto" and device.type == "cuda")
    magpie = magpie.to(device, torch.bfloat16 if half else torch.float32)
    magpie._codec_model.float()  # 16 bits of sound need more than the 8 of bfloat16
    magpie.decoder.reset_cache(use_cache=False)
    magpie._lt_helper.local_transformer.reset_cache(use_cache=False)
    return magpie.eval()


def checkpoint(name: str, codec: str) -> Any:
    """The model of a file or of the hub. Raises ConfigError when there is none."""
    path = Path(name).expanduser()
    try:
        if path.suffix != ".nemo" and not path.exists():
            return MagpieTTSModel.from_pretrained(name, map_location="cpu")
        config = MagpieTTSModel.restore_from(str(path), return_config=True)
        beside = path.with_suffix(".codec.nemo")
        if codec or beside.exists():
            with open_dict(config):
                config.codecmodel_path = str(Path(codec).expanduser() if codec else beside)
        return MagpieTTSModel.restore_from(str(path), map_location="cpu", override_config_path=config)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"{PREFIX}MODEL: {name} cannot be loaded: {reason}") from error


def _unfit(magpie: Any) -> str | None:
    """Why the model cannot be served, None when it can."""
    if magpie.model_type != "decoder_ce" or not magpie.has_baked_context_embedding:
        return f"has no voices of its own (model type {magpie.model_type})"
    if str(getattr(magpie.local_transformer_type, "value", "")) != "autoregressive":
        return "has no autoregressive local transformer"
    if magpie.decoder.layers[0].pos_ff.proj.conv.kernel_size != (1,):
        return "has a decoder that looks at more than one position in its feed-forward layers"
    if not magpie.inference_parameters.ignore_finished_sentence_tracking:
        return "wants the end of sentences tracked, which this backend does not do"
    return None


def make_model(magpie: Any, own: MagpieSettings, slots: int) -> SlotModel:
    """The model over `slots`, 0: as many as fit. Raises ConfigError when so many do not fit."""
    device, dtype = magpie.device, next(magpie.decoder.parameters()).dtype
    shape = shape_of(magpie, guidance=own.guidance, tokens=own.most_tokens)
    each = shape.slot_bytes(dtype)
    fit = int(free_bytes(device) * own.memory_share) // each - 1
    if fit < max(1, slots):
        raise ConfigError(
            f"ANTIPHON_TTS_SLOTS: {slots or 1} slots of {each / 1e6:.1f} MB do not fit on {device}: {max(0, fit)} do"
        )
    count = slots or min(fit, MOST_SLOTS[device.type])
    compiled = "" if own.compile == "off" else own.compile
    sizes = [*(size for size in BATCHES if size < own.max_batch), own.max_batch] if compiled else []
    log.info("%d slots of %.1f MB on %s", count, each / 1e6, device)
    return SlotModel(magpie, Slots(shape, count, device, dtype), buckets=sizes, compiled=compiled)


def make_vocoder(magpie: Any, model: SlotModel, own: MagpieSettings) -> Vocoder:
    """The codec, measured."""
    field = measure(magpie, magpie.device, look_ahead_db=own.look_ahead_db)
    log.info("the codec looks %d frames back and %d ahead; what is left out lies %.0f dB below", *_field(field))
    return Vocoder(magpie, model.slots.history, field)


def _field(field: Field) -> tuple[int, int, float]:
    return field.back, field.ahead, field.error_db


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on the device."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else host_bytes()


def warm_up(own: MagpieSettings) -> Callable[[SlotModel, Vocoder], None]:
    """Runs the shapes that production will run: the caches of a GPU's allocator and kernels are filled by them."""

    def warm(model: SlotModel, vocoder: Vocoder) -> None:
        drawing = Drawing(0.7, 80, 0, default_rule(model.magpie))
        most = min(model.slots.count, own.max_batch)
        tokens = (*range(1, 16), *range(1, 16), model.magpie.eos_id)
        for size in sorted({1, min(most, own.prefill_batch)}):
            model.prefill(range(size), [Prompt(tokens, 0, drawing, frames=40)] * size)
        for size in sorted({min(size, most) for size in (*BATCHES, most)}):
            for step in (1, 2):
                model.step(range(size), model.positions(step), len(tokens))
        for frames in (own.first_frames, 8, 32):
            vocoder.run([Window(0, 0, frames, 0)])
            vocoder.run([Window(0, vocoder.field.back, vocoder.field.back + frames, vocoder.field.ahead)])

    return warm


def load_engine(own: MagpieSettings, slots: int) -> tuple[Engine, Reader, int, Sampling]:
    """A warm engine, what reads texts for it, how many speakers it has, and how it draws when it is not told.

    Raises ConfigError when something is not there.
    """
    magpie = load_magpie(own, find_device(own.device))
    model = make_model(magpie, own, slots)
    vocoder = make_vocoder(magpie, model, own)
    limits = Limits(own.max_batch, own.prefill_batch, own.comfort_s)
    engine = Engine(model, vocoder, limits, first_frames=own.first_frames)
    engine.start(warm_up(own))
    options = magpie.inference_parameters
    defaults = Sampling(float(options.temperature), int(options.topk), own.seed, default_rule(magpie))
    reader = make_reader(
        magpie,
        languages=[tag.strip() for tag in own.languages.split(",") if tag.strip()],
        most_tokens=own.most_tokens,
        normalize=own.normalize,
        cache_dir=own.cache_dir.expanduser(),
    )
    return engine, reader, int(magpie.num_baked_speakers), defaults
