"""Any server that speaks OpenAI's Chat Completions: vLLM, llama-server, NIM, a hosted one."""

from .model import OpenAI

__all__ = ["OpenAI"]
