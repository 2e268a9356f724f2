"""Fixtures for tests of the measuring tools: recordings with known edges, and an agent of known latency."""

from .agent import KnownAgent, Manner, answering
from .spoken import SpokenCall, voice, whispered
from .synth import Part, recording, tone

__all__ = ["KnownAgent", "Manner", "Part", "SpokenCall", "answering", "recording", "tone", "voice", "whispered"]
