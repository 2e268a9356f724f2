"""Magpie TTS on NeMo: one model steps the frames of all streams together, and vocodes them as they come."""

from .synthesizer import MagpieSynthesizer

__all__ = ["MagpieSynthesizer"]
