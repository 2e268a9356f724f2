"""Where in its text the model is, for a batch at once: NeMo's own rules without a loop over rows or a look at the host.

Source: `get_most_attended_text_timestep` and `construct_inference_prior` of nemo.collections.tts.models.magpietts, 3.0.
"""

import torch

# A token that has been attended to so often is a sink, from which the model is moved on …
SINK = 8
# … and what it has attended to so often it may not go back to.
WORN = 10
# The last tokens are where speech ends; they are not searched.
TAIL = 3
# Shorter texts are not guided.
SHORT = 5


def attend(
    scores: torch.Tensor, last: torch.Tensor, counts: torch.Tensor, lengths: torch.Tensor, window: int
) -> torch.Tensor:
    """The token that each row attends to most, of the `window` ones from where it was; past them all, its last one.

    `scores` and `counts` are (rows, width), `last` and `lengths` (rows,).
    """
    sunk = counts.gather(1, last[:, None])[:, 0] >= SINK
    start = last + sunk
    end = torch.minimum(start + window, lengths - TAIL)
    place = torch.arange(scores.shape[1], device=scores.device)
    inside = (place >= start[:, None]) & (place < end[:, None])
    best = scores.masked_fill(~inside, -1.0).argmax(1)
    return torch.where(inside.any(1), best, lengths - 1)


def prior(
    attended: torch.Tensor, counts: torch.Tensor, lengths: torch.Tensor, window: int, epsilon: float
) -> torch.Tensor:
    """What the next step's attention is multiplied with: 1 near what is attended to, else `epsilon`. (rows, width)."""
    place = torch.arange(counts.shape[1], device=counts.device)
    here = attended[:, None]
    ahead = (place > here) & (place <= torch.minimum(here + window, lengths[:, None] - 1))
    near = ahead | (place == here) | (place == (here - 1).clamp(min=1)) | (lengths[:, None] <= SHORT)
    worn = torch.where(counts >= WORN, place, -1).amax(1)
    near = near & (place > worn[:, None])
    return torch.where(near, 1.0, epsilon)
