"""A folder of spoken utterances with their texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..errors import MissingText, NoUtterances, NoWords
from ..wav import load_call_audio
from .stream import BYTES_PER_SAMPLE, RATE_HZ

Words = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance: its file's name, what is said in it, and its audio as mono s16le at 16 kHz."""

    file: str
    said: str
    pcm: bytes

    @property
    def seconds(self) -> float:
        return len(self.pcm) / (RATE_HZ * BYTES_PER_SAMPLE)


def shipped() -> Path:
    """The folder of the set that comes with the package."""
    return Path(str(files("antiphon_bench"))) / "utterances"


def load_set(folder: Path, words: Words) -> list[Spoken]:
    """Every NAME.wav in `folder` with NAME.txt beside it, by name; about 2 MB of memory a minute.

    `words` gives the normalised words of a text, by which it will be judged. Raises NoUtterances, MissingText, NoWords,
    or AudioError.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() == ".wav")
    if not paths:
        raise NoUtterances(folder, "no WAV file here; give a folder of NAME.wav, each with its text in NAME.txt")
    texts = [_text(path.with_suffix(".txt"), words) for path in paths]
    return [
        Spoken(path.name, text, load_call_audio(path).astype("<i2").tobytes())
        for path, text in zip(paths, texts, strict=True)
    ]


def _text(path: Path, words: Words) -> str:
    if not path.is_file():
        raise MissingText(path, "missing; each NAME.wav needs what is said in it in NAME.txt")
    text = " ".join(path.read_text(encoding="utf-8-sig", errors="replace").split())
    if not words(text):
        raise NoWords(path, f"no words to compare with in {text!r}")
    return text
