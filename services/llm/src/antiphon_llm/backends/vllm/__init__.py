"""vLLM in this process, for installs of a single container."""

from .model import Vllm

__all__ = ["Vllm"]
