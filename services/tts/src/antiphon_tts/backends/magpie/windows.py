"""When a stream's decoded frames are made sound: the smaller its listener's lead, the smaller the window."""

from .. import Mode

# Of a listener's lead, how much may be spent on waiting for a larger window.
SHARE = 0.5


def window(mode: Mode, *, fresh: int, ended: bool, first: int, lead_s: float, frame_s: float) -> int | None:
    """How many of `fresh` frames are to be heard now, None: wait for more.

    `lead_s` is how much audio the listener has left, `frame_s` how long the next frame takes. HYBRID waits for as many
    frames as come within a share of the lead, so windows grow with it, and a segment that has time comes whole.
    """
    if ended:
        return fresh
    if mode is Mode.BATCH or fresh < first:
        return None
    wanted = first if mode is Mode.STREAM else max(first, int(SHARE * max(0.0, lead_s) / max(frame_s, 1e-6)))
    return fresh if fresh >= wanted else None
