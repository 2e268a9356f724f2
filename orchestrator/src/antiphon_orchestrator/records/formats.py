"""Audio files that can be played at any moment while they grow: WAV, FLAC, and Opus in Ogg.

Each write goes straight to the kernel, so the end of the process loses nothing that was written; only the loss of the
machine can.
"""

import os
import struct
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from .tracks import RATE_HZ

CHANNELS = 2
FRAME_BYTES = 2 * CHANNELS
# Bytes after which a WAV's sizes do not fit into 32 bits.
WAV_LIMIT = 2**32 - 1024
OPUS_BITRATE = 48_000
# Of an Ogg page.
PAGE_US = 100_000

Frames = NDArray[np.int16]


class AudioFile(Protocol):
    """A file of 16-bit stereo frames, playable after every call. Methods raise OSError."""

    def write(self, frames: Frames) -> None:
        """Append frames, of the shape (n, 2)."""

    def close(self) -> None:
        """Complete the file."""


class RawFile:
    """A new file of mode 0600, unbuffered. Raises FileExistsError, or another OSError."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0
        try:
            os.fchmod(self._fd, 0o600)  # the umask may have taken our own rights
        except OSError:
            os.close(self._fd)
            raise

    def write(self, data: bytes) -> int:
        """Append; after an error the file is as it was before."""
        view = memoryview(data)
        done = 0
        try:
            while done < len(view):
                done += os.pwrite(self._fd, view[done:], self.size + done)
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += done
        return done

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite what is there."""
        os.pwrite(self._fd, data, offset)

    def close(self) -> None:
        os.close(self._fd)

    def write_and_close(self, data: bytes) -> None:
        try:
            self.write(data)
        finally:
            self.close()


class WavFile:
    """WAV; its header is rewritten after each write, and becomes RF64 (EBU Tech 3306) beyond 4 GiB."""

    HEADER = 80

    def __init__(self, raw: RawFile, limit: int = WAV_LIMIT) -> None:
        self._raw = raw
        self._limit = limit
        raw.write(self._header(0))

    def write(self, frames: Frames) -> None:
        self._raw.write(frames.astype("<i2", copy=False).tobytes())
        self._raw.patch(0, self._header(self._raw.size - self.HEADER))

    def close(self) -> None:
        self._raw.close()

    def _header(self, data_bytes: int) -> bytes:
        """RIFF with a JUNK chunk in the place of RF64's ds64, which has the sizes in 64 bits."""
        riff_bytes = data_bytes + self.HEADER - 8
        if riff_bytes <= self._limit:
            start = struct.pack("<4sI4s4sI28x", b"RIFF", riff_bytes, b"WAVE", b"JUNK", 28)
            data_size = data_bytes
        else:
            sizes = struct.pack("<QQQI", riff_bytes, data_bytes, data_bytes // FRAME_BYTES, 0)
            start = struct.pack("<4sI4s4sI", b"RF64", 2**32 - 1, b"WAVE", b"ds64", 28) + sizes
            data_size = 2**32 - 1
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, CHANNELS, RATE_HZ, RATE_HZ * FRAME_BYTES, FRAME_BYTES, 16)
        return start + form + struct.pack("<4sI", b"data", data_size)


class _Framed:
    """Cuts what is written into frames of a codec's size."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest: Frames = np.zeros((0, CHANNELS), np.int16)
        self._pts = 0

    def add(self, frames: Frames) -> list[av.AudioFrame]:
        self._rest = np.concatenate([self._rest, frames])
        count = len(self._rest) // self._size
        cut = [self._rest[at * self._size : (at + 1) * self._size] for at in range(count)]
        self._rest = self._rest[count * self._size :]
        return [self._frame(samples) for samples in cut]

    def last(self) -> list[av.AudioFrame]:
        """The rest, shorter than the codec's frames."""
        rest, self._rest = self._rest, self._rest[:0]
        return [self._frame(rest)] if len(rest) else []

    def _frame(self, samples: Frames) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = RATE_HZ
        frame.pts = self._pts
        self._pts += len(samples)
        return frame


class FlacFile:
    """FLAC; the number of samples in its header is rewritten after each write."""

    # The 36 bits of STREAMINFO that count the samples are the low half of this byte and the four after it.
    TOTAL_AT = 21

    def __init__(self, raw: RawFile) -> None:
        self._raw = raw
        self._codec = AudioCodecContext.create("flac", "w")
        assert isinstance(self._codec, AudioCodecContext)
        self._codec.sample_rate, self._codec.layout, self._codec.format = RATE_HZ, "stereo", "s16"
        self._codec.thread_count = 1  # it runs in the recording's own thread
        self._codec.open()
        info = bytes(self._codec.extradata or b"")
        self._before_total = info[self.TOTAL_AT - 8] & 0xF0
        raw.write(b"fLaC" + bytes([0x80, 0, 0, len(info)]) + info)
        self._framed = _Framed(self._codec.frame_size)
        self._total = 0

    def write(self, frames: Frames) -> None:
        try:
            for frame in self._framed.add(frames):
                self._encode(frame)
        finally:
            self._patch()

    def close(self) -> None:
        try:
            for frame in self._framed.last():
                self._encode(frame)
            self._encode(None)
            self._patch()
        finally:
            self._raw.close()

    def _encode(self, frame: av.AudioFrame | None) -> None:
        for packet in self._codec.encode(frame):
            if packet.size:
                self._raw.write(bytes(packet))
                self._total += packet.duration or 0

    def _patch(self) -> None:
        total = self._total
        self._raw.patch(
            self.TOTAL_AT, bytes([self._before_total | (total >> 32) & 0xF]) + struct.pack(">I", total & 0xFFFFFFFF)
        )


class _WriteOnly:
    """A raw file as the Ogg muxer takes it: it cannot seek."""

    def __init__(self, raw: RawFile) -> None:
        self._raw = raw

    def write(self, data: bytes) -> int:
        return self._raw.write(data)


class OpusFile:
    """Opus in Ogg, pages of a tenth of a second."""

    FRAME = RATE_HZ // 50

    def __init__(self, raw: RawFile) -> None:
        self._raw = raw
        options = {"page_duration": str(PAGE_US), "flush_packets": "1"}
        self._container = av.open(_WriteOnly(raw), "w", format="ogg", options=options)
        self._stream: AudioStream = self._container.add_stream("libopus", rate=RATE_HZ)
        self._stream.codec_context.layout = "stereo"
        self._stream.codec_context.format = "s16"
        self._stream.codec_context.bit_rate = OPUS_BITRATE
        self._stream.codec_context.thread_count = 1
        self._framed = _Framed(self.FRAME)
        self._container.start_encoding()

    def write(self, frames: Frames) -> None:
        for frame in self._framed.add(frames):
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        try:
            for frame in self._framed.last():
                self._container.mux(self._stream.encode(frame))
            self._container.mux(self._stream.encode(None))
            self._container.close()
        finally:
            self._raw.close()
