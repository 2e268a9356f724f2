"""What the instruments are tested against: recordings of known edges, and an agent of known latency."""

from .agent import KnownAgent, Manner, answering
from .synth import Part, recording, tone

__all__ = ["KnownAgent", "Manner", "Part", "answering", "recording", "tone"]
