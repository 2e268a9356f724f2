"""The frames that our services and turn-taking add to Pipecat's.

Samples count the caller's audio from the session's first sample, at the pipeline's input rate.
"""

from dataclasses import dataclass

from pipecat.frames.frames import DataFrame, SystemFrame

# In an InputAudioRawFrame's metadata: by how many milliseconds it came later than the promptest one of late.
AUDIO_LATE_MS = "antiphon.audio_late_ms"


@dataclass
class LateAudioFrame(SystemFrame):
    """Audio that follows had been missed, and silence was heard in its place: the caller's line had stalled."""


@dataclass
class SpeechPausedFrame(SystemFrame):
    """The caller has just fallen silent; the turn may go on.

    Parameters:
        sample: One past the last sample of speech.
        silence_ms: Length of the silence after which the service noticed it.
        arrived_ms: Length of the audio that has arrived since; more, when the service is behind.
        speech_end_ns: When that last sample arrived, on the pipeline's clock.
    """

    sample: int = 0
    silence_ms: int = 0
    arrived_ms: int = 0
    speech_end_ns: int = 0


@dataclass
class SpeechResumedFrame(SystemFrame):
    """The pause was too short for a VADUserStoppedSpeakingFrame, and the caller speaks on."""


@dataclass
class TurnVerdictFrame(SystemFrame):
    """Verdict on the end of the turn after `silence_ms` of the pause at `sample`.

    Parameters:
        probability: That the turn is over, 0 to 1.
        complete: The model's own decision.
        compute_ms: Time that the verdict took on the server, including its queue.
    """

    sample: int = 0
    silence_ms: int = 0
    probability: float = 0.0
    complete: bool = False
    compute_ms: float = 0.0


@dataclass
class PauseTextFrame(SystemFrame):
    """Transcript of the turn up to the pause at `sample`; more may follow.

    Parameters:
        text: The whole turn's so far, "" if no speech was recognized.
    """

    sample: int = 0
    text: str = ""


@dataclass
class CommitTurnFrame(SystemFrame):
    """The caller's turn is over at `sample`: its text is wanted, and then an answer.

    Parameters:
        reason: Why, in the turn policy's words.
        held_for: What the policy last waited for in this pause, "" when for nothing but time.
        silence_ms: How long the caller has been silent, counted in audio.
        audio_late_ms: How far the caller's audio lagged.
    """

    sample: int = 0
    reason: str = ""
    held_for: str = ""
    silence_ms: float = 0.0
    audio_late_ms: float = 0.0


@dataclass
class EmptyUtteranceFrame(DataFrame):
    """A committed turn without a text. Stays in its place among the TranscriptionFrames.

    Parameters:
        error: Why none could be had. Empty: the recognizer heard no speech.
    """

    error: str = ""


@dataclass
class TypedTextFrame(SystemFrame):
    """A turn that the caller has typed, on its way to TypedTurns.

    Parameters:
        text: All of it.
    """

    text: str = ""


@dataclass
class AgentSilencedFrame(SystemFrame):
    """The agent was heard, and fell silent because the caller speaks: for now, or for good.

    Parameters:
        after_ms: How long the caller had spoken by then.
    """

    after_ms: float = 0.0


@dataclass
class OverlapEndedFrame(SystemFrame):
    """End of overlapping speech that was not meant to stop the agent: the reply goes on, and no turn has begun.

    Parameters:
        text: The recognized words, "" if there were none.
    """

    text: str = ""


@dataclass
class AnswerOwedFrame(SystemFrame):
    """The caller's turn is over, and an answer is owed: it had words, or their text could not be had.

    Parameters:
        error: Why no answer can come, "" when one can.
    """

    error: str = ""


@dataclass
class AnswerOverdueFrame(SystemFrame):
    """A turn has had no answer for too long, and what was under way of one is given up.

    Parameters:
        reason: What was waited for.
    """

    reason: str = ""
