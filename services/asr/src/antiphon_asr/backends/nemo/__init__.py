"""NVIDIA's Nemotron Speech, or another cache-aware streaming RNNT of NeMo: batched across calls, exact."""

from .recognizer import NemoRecognizer

__all__ = ["NemoRecognizer"]
