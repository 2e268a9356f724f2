"""Moonshine tiny-en on the CPU: English at 16 kHz, in about a fortieth of the audio's time on one core."""

from .recognizer import MoonshineRecognizer

__all__ = ["MoonshineRecognizer"]
