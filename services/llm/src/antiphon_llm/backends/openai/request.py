"""A turn as OpenAI's Chat Completions have it."""

from typing import Any

from ...conversation import read_sent
from .. import Generation


def request(generation: Generation, model: str, max_tokens_field: str = "max_tokens") -> dict[str, Any]:
    """What to ask a server for: messages and tools as they were sent."""
    sampling, sent = generation.sampling, read_sent(*generation.sent_json)
    asked: dict[str, Any] = {
        "model": model,
        "messages": sent.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        max_tokens_field: generation.max_tokens,
    }
    if sampling.seed is not None:
        asked["seed"] = sampling.seed
    if sent.tools:
        asked |= {"tools": sent.tools, "tool_choice": sent.choice}
    return asked
