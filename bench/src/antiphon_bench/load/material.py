"""What callers say, cut into the frames in which it is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..speech import find_speech
from ..wav import CALL_RATE_HZ, Pcm, load_call_audio
from .plan import Manner

TICK_S = 0.020
TICK = round(TICK_S * CALL_RATE_HZ)
# A pause is made where the speech is quietest, within this part of it.
MIDDLE = (0.3, 0.7)


@dataclass(frozen=True, slots=True)
class Question:
    """An utterance as frames of 20 ms at 16 kHz. `speech_end_s` is when its last speech sample is over.

    `said` is its text, "" when that is not known; `expected` are words of a right answer, if any are known.
    """

    name: str
    said: str
    expected: tuple[str, ...]
    frames: tuple[bytes, ...]
    speech_end_s: float


def questions(files: Sequence[Path], manner: Manner, *, paused: bool = False, seed: int = 0) -> list[Question]:
    """The files as they are said in this manner; `paused` with a hesitation in the middle. Raises AudioError.

    NAME.txt beside NAME.wav has its text, NAME.expect the words of a right answer.
    """
    return [_question(path, manner, paused, seed + number) for number, path in enumerate(files)]


def silence(manner: Manner, seed: int = 0, seconds: float = 1.0) -> tuple[bytes, ...]:
    """What the line carries while nobody speaks: a loop of it."""
    return _frames(_with_noise(np.zeros(round(seconds * CALL_RATE_HZ), np.int16), manner, seed))


def _question(path: Path, manner: Manner, paused: bool, seed: int) -> Question:
    pcm = load_call_audio(path)
    if paused:
        pcm = _with_pause(pcm, manner.pause_s)
    segments = find_speech(pcm.astype(np.float32) / 32768.0, CALL_RATE_HZ).segments
    end = segments[-1].end if segments else len(pcm)
    text, expected = path.with_suffix(".txt"), path.with_suffix(".expect")
    return Question(
        name=path.stem,
        said=" ".join(text.read_text(encoding="utf-8").split()) if text.is_file() else "",
        expected=tuple(expected.read_text(encoding="utf-8").split()) if expected.is_file() else (),
        frames=_frames(_with_noise(np.pad(pcm, (0, -len(pcm) % TICK)), manner, seed)),
        speech_end_s=end / CALL_RATE_HZ,
    )


def _with_pause(pcm: Pcm, pause_s: float) -> Pcm:
    hops = np.abs(pcm[: len(pcm) // TICK * TICK].astype(np.float32)).reshape(-1, TICK).mean(axis=1)
    first, last = (round(len(hops) * share) for share in MIDDLE)
    at = (first + int(np.argmin(hops[first : max(first + 1, last)]))) * TICK
    return np.concatenate([pcm[:at], np.zeros(round(pause_s * CALL_RATE_HZ), np.int16), pcm[at:]])


def _with_noise(pcm: Pcm, manner: Manner, seed: int) -> Pcm:
    """White noise over all of it, from a seed."""
    if manner.noise_dbfs is None:
        return pcm
    draw = np.random.default_rng(seed)
    noise = draw.normal(0.0, 32768.0 * 10 ** (manner.noise_dbfs / 20), len(pcm))
    mixed: Pcm = np.clip(pcm + noise, -32768, 32767).astype(np.int16)
    return mixed


def _frames(pcm: Pcm) -> tuple[bytes, ...]:
    return tuple(pcm[at : at + TICK].tobytes() for at in range(0, len(pcm) - TICK + 1, TICK))
