"""llama.cpp in this process."""

from .model import LlamaCpp

__all__ = ["LlamaCpp"]
