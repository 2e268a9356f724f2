"""Which generations take the next step: who waits in silence first, and nobody who has audio enough before others."""

from collections.abc import Sequence
from dataclasses import dataclass

from .request import Request

# While somebody waits for a first sound, so small a share of the comfortable lead is enough for the others to yield.
YIELDING = 0.25


@dataclass(frozen=True, slots=True)
class Limits:
    """`comfort_s` is the lead from which a stream yields; `batch` and `prefill` bound a step and a reading."""

    batch: int = 64
    prefill: int = 8
    comfort_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What the device does next: reads the `newcomers` or, without any, steps the `rows`."""

    newcomers: Sequence[Request]
    rows: Sequence[Request]


def choose(
    waiting: Sequence[Request], live: Sequence[Request], free: int, limits: Limits, *, now_s: float, frame_s: float
) -> Turn:
    """The next turn; empty when there is nothing to do. `waiting` want a slot, of which `free` are left.

    Of those with a lead beyond comfort none is taken while another has less: what they do not need yet would make the
    step of those who do longer.
    """
    leads = {request: request.lead_s(now_s, frame_s) for request in (*waiting, *live)}
    someone_new = any(request.is_new for request in leads)
    enough_s = limits.comfort_s * (YIELDING if someone_new else 1.0)
    if any(lead_s < enough_s for request, lead_s in leads.items() if free or request.slot >= 0):
        leads = {request: lead_s for request, lead_s in leads.items() if lead_s < enough_s}

    def urgent_first(requests: Sequence[Request]) -> list[Request]:
        chosen = [request for request in requests if request in leads]
        return sorted(chosen, key=lambda request: (not request.is_new, leads[request]))

    return Turn(urgent_first(waiting)[: min(free, limits.prefill)], urgent_first(live)[: limits.batch])
