"""Checks of the audio that clients send."""

from collections.abc import Sequence

from antiphon.common.v1 import audio_pb2

from .errors import InvalidInput

BYTES_PER_SAMPLE = 2


def checked_rate(audio: audio_pb2.AudioFormat, rates_hz: Sequence[int]) -> int:
    """The format's sample rate. Raises InvalidInput when the encoding or the rate is not one we take."""
    if audio.encoding != audio_pb2.AUDIO_ENCODING_PCM_S16LE:
        raise InvalidInput("config.audio.encoding must be AUDIO_ENCODING_PCM_S16LE", reason="UNSUPPORTED_ENCODING")
    if audio.sample_rate_hz not in rates_hz:
        allowed = ", ".join(map(str, rates_hz))
        raise InvalidInput(
            f"config.audio.sample_rate_hz {audio.sample_rate_hz} is not taken: send {allowed}",
            reason="UNSUPPORTED_SAMPLE_RATE",
        )
    return audio.sample_rate_hz


def checked_pcm(pcm: bytes, rate_hz: int) -> bytes:
    """`pcm` itself. Raises InvalidInput when it is not whole samples, or longer than a second."""
    if len(pcm) % BYTES_PER_SAMPLE:
        raise InvalidInput(f"audio of {len(pcm)} bytes is not whole 16-bit samples", reason="ODD_AUDIO_LENGTH")
    if len(pcm) > rate_hz * BYTES_PER_SAMPLE:
        raise InvalidInput("send at most one second of audio at a time", reason="AUDIO_TOO_LONG")
    return pcm


def checked_choice(field: str, value: str, allowed: Sequence[str]) -> str:
    """`value`, or the first of `allowed` when it is empty. Raises InvalidInput when it is none of them."""
    if not value:
        return allowed[0]
    if value not in allowed:
        raise InvalidInput(
            f"unknown {field} {value!r}: this server has {', '.join(allowed)}", reason=f"UNKNOWN_{field.upper()}"
        )
    return value
