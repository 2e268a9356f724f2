"""How far a caller's audio lags behind the time in which it was spoken."""

from collections import deque


class IngressLag:
    """By how much each piece of audio came later than the promptest one of the last `window_s`.

    What the network always takes cannot be seen from here; what it takes beyond that can, and so can our own delay in
    reading. Clocks that run apart, and a caller who sent nothing for a while, are forgotten with the window.
    """

    def __init__(self, window_s: float = 10.0) -> None:
        self._window_s = window_s
        # Arrivals with their offset from the audio's own time, each smaller than all that came after it.
        self._prompt: deque[tuple[float, float]] = deque()

    def arrived(self, audio_s: float, now_s: float) -> float:
        """The lag in seconds of a piece that ends `audio_s` into the caller's audio and came at `now_s`."""
        offset_s = now_s - audio_s
        while self._prompt and self._prompt[-1][1] >= offset_s:
            self._prompt.pop()
        self._prompt.append((now_s, offset_s))
        while self._prompt[0][0] < now_s - self._window_s:
            self._prompt.popleft()
        return offset_s - self._prompt[0][1]
