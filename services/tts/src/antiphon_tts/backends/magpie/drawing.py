"""Drawing a code for each row by its own temperature, top-k and random numbers."""

import torch


def draw(logits: torch.Tensor, uniforms: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor) -> torch.Tensor:
    """A token for each row of `logits` (rows, tokens), by the inverse of its cumulative distribution at `uniforms`.

    One number in [0, 1) a row decides, so what is drawn does not depend on who else is in the batch. `temperature` 0
    takes the likeliest; `top_k` 0 draws of all. Both (rows,).
    """
    likeliest = logits.argmax(1)
    ordered, tokens = logits.sort(1, descending=True)
    rank = torch.arange(logits.shape[1], device=logits.device)
    ordered = ordered.masked_fill((rank >= top_k[:, None]) & (top_k[:, None] > 0), float("-inf"))
    heat = torch.where(temperature > 0, temperature, 1.0)
    reached = torch.softmax(ordered / heat[:, None], 1).cumsum(1)
    # Rounding may leave the sum short of 1, or beyond it.
    place = (reached <= uniforms[:, None] * reached[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)
    drawn = tokens.gather(1, place[:, None])[:, 0]
    return torch.where(temperature > 0, drawn, likeliest)


def random_numbers(seed: int, steps: int, each: int) -> torch.Tensor:
    """All the numbers that a generation may need, (steps, each): the same ones on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((steps, each), generator=generator)
