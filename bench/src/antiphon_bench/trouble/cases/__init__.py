"""The catalogue, one module a kind of trouble."""

from . import (
    background,
    dictation,
    echo,
    forging,
    gaps,
    hang_ups,
    interruptions,
    limits,
    model_faults,
    recordings,
    refused_audio,
    resampling,
    tools,
)

__all__ = [
    "background",
    "dictation",
    "echo",
    "forging",
    "gaps",
    "hang_ups",
    "interruptions",
    "limits",
    "model_faults",
    "recordings",
    "refused_audio",
    "resampling",
    "tools",
]
