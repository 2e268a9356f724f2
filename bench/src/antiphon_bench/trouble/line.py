"""A caller's line that can be made to misbehave: mute, DTX, stalls, bursts, echo, noise, odd formats.

Knows nothing of transports and clocks: each tick of 20 ms goes in, and what is sent for it comes out.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..wav import CALL_RATE_HZ, Samples, resampled, to_pcm

TICK_S = 0.02
TICK = round(TICK_S * CALL_RATE_HZ)
# Quieter than -50 dBFS is silence to a codec.
SILENT = 10.0 ** (-50.0 / 20.0)
# A codec with DTX sends on for so many ticks after speech, then a frame of comfort noise every so many.
HANGOVER_TICKS = 5
COMFORT_TICKS = 20
# A stalled line keeps no more than this; the oldest is lost.
LONGEST_STALL_TICKS = 1000


class Silence(Enum):
    """Frames sent while the caller is silent."""

    SENT = "sent"
    COMFORT = "comfort"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Format:
    """Rate, channels and encoding of what is sent: pcm, float32 or mulaw."""

    rate_hz: int = CALL_RATE_HZ
    channels: int = 1
    encoding: str = "pcm"


@dataclass(frozen=True, slots=True)
class Frame:
    """One audio frame on the wire, with what it claims to be."""

    audio: bytes
    rate_hz: int
    channels: int


@dataclass(frozen=True, slots=True)
class Echo:
    """The agent's sound as the microphone picks it up."""

    gain_db: float
    delay_s: float


class Line:
    """One caller's line. Attributes may be changed at any time of the call."""

    def __init__(self, form: Format | None = None) -> None:
        self.form = form or Format()
        self.muted = False
        self.silence = Silence.SENT
        self.burst_ticks = 1
        self.echo: Echo | None = None
        self.noise: Samples | None = None
        self._stalled = False
        self._waiting: deque[Frame] = deque(maxlen=LONGEST_STALL_TICKS)
        self._heard: deque[Samples] = deque(maxlen=50)
        self._ticks = 0
        self._silent_ticks = 0

    def stall(self) -> None:
        """Keep what is said from now on until `release`."""
        self._stalled = True

    def release(self) -> None:
        """Send what was kept, at once."""
        self._stalled = False

    def forget(self) -> None:
        """Lose what was kept."""
        self._stalled = False
        self._waiting.clear()

    def microphone(self, said: Samples, heard: Samples) -> Samples:
        """Sound that the microphone picks up in a tick: the caller, the echo of the agent's sound and the noise."""
        self._heard.append(heard)
        picked = said.copy()
        if self.echo:
            back = 1 + round(self.echo.delay_s / TICK_S)
            if back <= len(self._heard):
                picked += self._heard[-back] * np.float32(10 ** (self.echo.gain_db / 20))
        if self.noise is not None:
            at = np.arange(self._ticks * TICK, (self._ticks + 1) * TICK) % len(self.noise)
            picked += self.noise[at]
        return picked

    def tick(self, picked: Samples) -> list[Frame]:
        """Frames to send for a tick of 20 ms at 16 kHz."""
        self._ticks += 1
        silent = float(np.abs(picked).max(initial=0.0)) < SILENT
        self._silent_ticks = self._silent_ticks + 1 if silent else 0
        if not self.muted and self._is_sent():
            self._waiting.append(encoded(picked, self.form))
        if self._stalled or self._ticks % self.burst_ticks:
            return []
        frames = list(self._waiting)
        self._waiting.clear()
        return frames

    def _is_sent(self) -> bool:
        after = self._silent_ticks - HANGOVER_TICKS
        match self.silence:
            case Silence.COMFORT:
                return after <= 0 or after % COMFORT_TICKS == 0
            case Silence.NOTHING:
                return self._silent_ticks == 0
        return True


def encoded(samples: Samples, form: Format) -> Frame:
    """The samples, of 16 kHz, in a format."""
    there = resampled(samples, CALL_RATE_HZ, form.rate_hz)
    if form.channels > 1:
        there = np.repeat(there, form.channels)
    match form.encoding:
        case "float32":
            audio = there.astype("<f4").tobytes()
        case "mulaw":
            audio = _mulaw(there)
        case _:
            audio = to_pcm(there).astype("<i2").tobytes()
    return Frame(audio, form.rate_hz, form.channels)


def _mulaw(samples: Samples) -> bytes:
    """G.711 mu-law, continuous formula."""
    clipped = np.clip(samples, -1.0, 1.0)
    level = np.log1p(255.0 * np.abs(clipped)) / np.log(256.0)
    codes = np.where(clipped < 0, 0x00, 0x80) | np.round(level * 127).astype(np.int64)
    return bytes(np.bitwise_xor(codes, 0x7F).astype(np.uint8).tobytes())
