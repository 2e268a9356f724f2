"""The processor of a pipeline that records the call."""

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from .options import Reason
from .recording import Recording

WORDS: dict[Reason, str] = {
    "full": "there is no space left",
    "denied": "its folder cannot be written",
    "io": "its file cannot be written",
}


class CallRecorder(FrameProcessor):
    """Records the caller's audio, and the agent's as the transport has sent it. Belongs after `transport.output()`.

    If the recording fails, the caller is sent `antiphon.error` with the reason `recording_failed`; the call goes on.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__(enable_direct_mode=True)
        self._recording = recording
        self._has_told = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            self._record(frame)
            if self._recording.failure and not self._has_told and not isinstance(frame, EndFrame | CancelFrame):
                self._has_told = True
                await self._tell(self._recording.failure)
        await self.push_frame(frame, direction)

    def _record(self, frame: Frame) -> None:
        match frame:
            case InputAudioRawFrame():
                self._recording.add_caller(frame.audio, frame.sample_rate, frame.num_channels)
            case OutputAudioRawFrame():
                self._recording.add_agent(frame.audio, frame.sample_rate, frame.num_channels)
            case InterruptionFrame():
                self._recording.interrupt_agent()

    async def _tell(self, failure: Reason) -> None:
        """Send the caller a message; the transport's output, before us, takes it from either side."""
        words = f"this call is no longer recorded: {WORDS.get(failure, 'an internal error')}"
        message = {"type": "antiphon.error", "reason": "recording_failed", "message": words}
        await self.push_frame(OutputTransportMessageUrgentFrame(message=message), FrameDirection.UPSTREAM)
