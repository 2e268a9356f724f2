"""Pipecat frames of a phrase whose sound is known."""

import uuid

from pipecat.frames.frames import (
    Frame,
    LLMAssistantPushAggregationFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.utils.text.base_text_aggregator import TextType

from ..services.speculation import mark_as_own
from .phrases import RATE_HZ, Spoken

MS = 1_000_000


def phrase_frames(spoken: Spoken, now_ns: int, *, remembered: bool) -> list[Frame]:
    """Return the frames that say a phrase from `now_ns` of the pipeline's clock on.

    They are marked as the agent's own, so withdrawing a response does not concern them. What is not `remembered` stays
    out of the model's context.
    """
    context_id = str(uuid.uuid4())
    words: list[Frame] = []
    for word, start_ms in spoken.words:
        text = TTSTextFrame(word, TextType.WORD, context_id=context_id)
        text.append_to_context = remembered
        text.pts = now_ns + round(start_ms * MS)
        words.append(text)
    frames: list[Frame] = [
        TTSStartedFrame(context_id=context_id, append_to_context=remembered),
        *words,
        TTSAudioRawFrame(spoken.pcm, RATE_HZ, 1, context_id=context_id),
        TTSStoppedFrame(context_id=context_id),
        *([LLMAssistantPushAggregationFrame()] if remembered else []),
    ]
    for frame in frames:
        mark_as_own(frame)
    return frames
