"""llama.cpp in this process, through xllamacpp's server object."""

from .model import LlamaCpp

__all__ = ["LlamaCpp"]
