"""NeMo's cache-aware streaming RNNTs, such as NVIDIA's Nemotron Speech: batched across calls, exact, one thread a GPU."""

from .recognizer import NemoRecognizer

__all__ = ["NemoRecognizer"]
