"""From settings to engines that are warm. Importing this imports torch and NeMo, which takes seconds."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nemo.collections.asr.models import ASRModel
from nemo.utils import logging as nemo_logging

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.stepping import host_bytes

from .context import Context
from .engine import Engine, Limits
from .model import StreamingModel
from .pool import Pool
from .row import Row
from .settings import PREFIX, NemoSettings

log = logging.getLogger(__name__)

# Where a device is too slow for more long before its memory is full.
MOST_SLOTS = {"cuda": 1024, "cpu": 64}
BATCHES = (2, 4, 8, 16, 32, 64, 128, 256, 512)


def load_engines(own: NemoSettings, slots: int) -> list[Engine]:
    """An engine for each device, with `slots` streams in all; 0: as many as memory holds.

    Raises ConfigError when the checkpoint cannot be had or streamed, or a device or the slots are not there.
    """
    nemo_logging.setLevel(logging.ERROR)
    torch.set_num_threads(own.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = own.tf32
    devices = find_devices(own.device)[: slots or None]
    engines = []
    for number, device in enumerate(devices):
        model = streaming_model(own, device)
        share = len(range(number, slots, len(devices)))
        pool = make_pool(model, own, share if slots else 0)
        engine = Engine(model, pool, limits(own), device=str(device))
        engine.start(warm_up(own))
        log.info("%d slots of %.2f MB on %s", engine.slots, pool.nbytes / pool.slots / 1e6, device)
        engines.append(engine)
    return engines


def find_devices(wanted: str) -> list[torch.device]:
    """The devices that a setting names. Raises ConfigError when one is not there."""
    gpus = torch.cuda.device_count()
    if wanted == "auto":
        return [torch.device("cuda", index) for index in range(gpus)] or [torch.device("cpu")]
    devices = []
    for name in wanted.split(","):
        try:
            device = torch.device(name.strip())
        except RuntimeError as error:
            raise ConfigError(f"{PREFIX}DEVICE: {name!r} is no device, such as cpu or cuda:0") from error
        if device.type == "cuda" and (device.index or 0) >= gpus:
            raise ConfigError(f"{PREFIX}DEVICE: {name} is not there: torch sees {gpus} GPUs")
        if device.type not in ("cuda", "cpu"):
            raise ConfigError(f"{PREFIX}DEVICE: {name!r} is neither a GPU nor the cpu")
        devices.append(device)
    return devices


def streaming_model(own: NemoSettings, device: torch.device) -> StreamingModel:
    """The checkpoint on its device. Raises ConfigError when it cannot be had or streamed."""
    gpu = device.type == "cuda"
    if own.cuda_graphs and not gpu:
        raise ConfigError(f"{PREFIX}CUDA_GRAPHS needs a GPU, and the device is {device}")
    compiled = "" if own.compile == "off" else own.compile
    fixed = bool(compiled or own.cuda_graphs)
    buckets = [*(size for size in BATCHES if size < own.max_batch), max(2, own.max_batch)] if fixed else []
    return StreamingModel(
        checkpoint(own.model),
        device,
        dtype_on(device, own),
        buckets=buckets,
        cuda_graphs=own.cuda_graphs,
        compiled=compiled,
    )


def dtype_on(device: torch.device, own: NemoSettings) -> torch.dtype:
    """What the model computes in."""
    half = own.dtype == "bfloat16" or (own.dtype == "auto" and device.type == "cuda")
    return torch.bfloat16 if half else torch.float32


def checkpoint(name: str) -> Any:
    """The NeMo model of a file or of the hub. Raises ConfigError when there is none."""
    path = Path(name).expanduser()
    try:
        if path.suffix == ".nemo" or path.exists():
            return ASRModel.restore_from(str(path), map_location="cpu")
        return ASRModel.from_pretrained(name, map_location="cpu")
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"{PREFIX}MODEL: {name} cannot be loaded: {reason}") from error


def make_pool(model: StreamingModel, own: NemoSettings, slots: int) -> Pool:
    """A pool of `slots`, or of as many as fit. Raises ConfigError when that many do not fit."""
    rewind = -(-own.rewind_ms // frame_ms(model.contexts[0])) + model.contexts[-1].frames
    each = model.shape.slot_bytes(rewind, model.dtype)
    extra = own.flushes
    fit = int(free_bytes(model.device) * own.memory_share) // each - extra
    if fit < max(1, slots):
        raise ConfigError(
            f"ANTIPHON_ASR_SLOTS: {slots or 1} slots of {each / 1e6:.1f} MB do not fit on {model.device}: "
            f"{max(0, fit)} do, with {own.flushes} for finalizes"
        )
    most = own.most_slots or MOST_SLOTS[model.device.type]
    return Pool(model.shape, (slots or min(fit, most)) + extra, rewind, model.device, model.dtype)


def frame_ms(context: Context) -> int:
    return context.ms // context.frames


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on the device."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else host_bytes()


def limits(own: NemoSettings) -> Limits:
    return Limits(
        max_batch=own.max_batch,
        flushes=own.flushes,
        gather_s=own.gather_ms / 1000,
        most_wait_s=own.most_wait_ms / 1000,
        restart_after_s=own.restart_after_s,
    )


def warm_up(own: NemoSettings) -> Callable[[Any, Pool], None]:
    """Runs every shape that production will run, and checks that graphs decode as plain steps do."""

    def warm(model: Any, pool: Pool) -> None:
        # The largest first: graphs are captured for the most that has come.
        sizes = sorted({min(size, pool.slots) for size in model.buckets or (1, own.max_batch)}, reverse=True)
        for context in model.contexts:
            for size in sizes:
                for step in (0, 1, 2):
                    model.step(pool, context, noisy_rows(context, step, size))
                model.step(pool, context, noisy_rows(context, 1, size), confidence=True)
            if own.cuda_graphs:
                check_graphs(model, pool, context)

    return warm


def noisy_rows(context: Context, step: int, count: int) -> list[Row]:
    """Rows of different noise, so that a warm-up decodes tokens and not only silence."""
    start, stop = context.window(step)
    noise = np.random.default_rng(step).normal(scale=3000, size=(count, stop - start)).astype(np.int16)
    frame = context.frames_after(step)
    return [Row(slot, slot, frame, step, frame, step, noise[slot]) for slot in range(count)]


def check_graphs(model: StreamingModel, pool: Pool, context: Context, steps: int = 20) -> None:
    """Raises ConfigError when decoding with CUDA graphs emits other tokens than plain decoding does."""
    for step in range(steps):
        rows = noisy_rows(context, step, 1)
        graphs, plain = model.decoded_both_ways(pool, context, rows)
        if graphs != plain:
            raise ConfigError(
                f"{PREFIX}CUDA_GRAPHS: with a context of {context.ms} ms, step {step} emits {graphs} and not {plain}: "
                "turn it off"
            )
        model.step(pool, context, rows)
