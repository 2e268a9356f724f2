"""What can go wrong with the instruments. Every message names the file or address, and what to do.

BenchError
  AudioError
    UnreadableAudio   the file cannot be opened
    EmptyAudio        the file has no bytes
    NotWav            the file is something else
    NoSamples         a WAV file without audio in it
    NotStereo         a recording needs the caller on the left and the agent on the right
    AudioTooLong      longer than the instrument takes
  CallError           `.call` is what was recorded until then, if the call had begun
    Unreachable       nobody answers at the address, or not with a WebSocket
    ServerFull        503: the server takes no more calls now
    BadToken          401 or 403: the token is missing, wrong or too old
    UnknownAgent      404: no agent of that name, or no such path
    Refused           another HTTP status
    NoSession         connected, but the server never said `antiphon.session`
    CallDropped       the server hung up, died or stopped reading in the middle of the call
  SetError            a folder of WAV files and texts; `.path` is what is wrong in it
    NoUtterances      no folder, or one without a WAV file
    MissingText       a WAV file without its text
    NoWords           a text in which no word is left once it is normalised
  NotReady            a service started for a measurement ended at once
  AsrError            an utterance that a speech recognizer did not transcribe
    StreamEnded       `.code` is the gRPC status's name
      StreamRefused   no stream was opened
      StreamLost      the stream ended before the answer
    NoAnswer          no answer within the time it was given
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .call import Call


class BenchError(Exception):
    """An instrument could not do its work. The message is meant for the person at the terminal."""


class AudioError(BenchError):
    """`path` is not audio that can be used; the message says why."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class UnreadableAudio(AudioError):
    pass


class EmptyAudio(AudioError):
    pass


class NotWav(AudioError):
    pass


class NoSamples(AudioError):
    pass


class NotStereo(AudioError):
    pass


class AudioTooLong(AudioError):
    pass


class CallError(BenchError):
    """A call that could not be placed, or not finished. `call` holds what had been heard, if anything."""

    def __init__(self, message: str, call: "Call | None" = None) -> None:
        super().__init__(message)
        self.call = call


class Unreachable(CallError):
    pass


class ServerFull(CallError):
    pass


class BadToken(CallError):
    pass


class UnknownAgent(CallError):
    pass


class Refused(CallError):
    pass


class NoSession(CallError):
    pass


class CallDropped(CallError):
    pass


class SetError(BenchError):
    """A set of utterances that cannot be used because of `path`."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class NoUtterances(SetError):
    pass


class MissingText(SetError):
    pass


class NoWords(SetError):
    pass


class NotReady(BenchError):
    """A service that was started for a measurement and ended before it could be measured."""


class AsrError(BenchError):
    """A speech recognizer did not transcribe an utterance."""


class StreamEnded(AsrError):
    """Ended by the service or by the way there. `code` is the gRPC status's name, such as RESOURCE_EXHAUSTED."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class StreamRefused(StreamEnded):
    pass


class StreamLost(StreamEnded):
    pass


class NoAnswer(AsrError):
    pass


class BadScript(Exception):
    """A scripted conversation that cannot be read."""
