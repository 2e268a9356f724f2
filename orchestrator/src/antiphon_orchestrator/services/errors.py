"""Errors of services, by what they do to an answer."""

from pipecat.frames.frames import ErrorFrame
from pipecat.services.llm_service import LLMService
from pipecat.services.tts_service import TTSService
from pipecat.utils.errors import ErrorCategory


def breaks_answers(error: ErrorFrame) -> bool:
    """Return True if an answer is lost by the error.

    A listening service recovers by itself, and a tool that raised has told the model so.
    """
    speaks = isinstance(error.processor, LLMService | TTSService)
    return speaks and error.category is not ErrorCategory.APPLICATION
