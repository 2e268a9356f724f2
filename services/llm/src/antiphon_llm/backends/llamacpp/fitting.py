"""What to do with a conversation that is longer than the model's context: its oldest turns are left out.

They are left out at the start of a user's message, and so many at a time that a quarter of the context becomes free:
until that is full again the prompt only grows, and what has been evaluated stays good. The cut depends only on the
messages before it, so that every turn of one conversation makes the same one.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from antiphon_runtime.errors import InvalidInput

from ...conversation import Message

# Steps in which room is made, as a part of the context.
STEP = 4


def fitted(
    messages: Sequence[Message], length: int, room: int, count: Callable[[Sequence[Message]], int]
) -> tuple[Sequence[Message], int]:
    """The messages that leave `room` of a context of `length` tokens free, and how many were left out.

    `count` says how many tokens a conversation has. Raises InvalidInput when the last exchange alone is too long.
    """
    whole = count(messages)
    if whole + room <= length:
        return messages, 0
    head = next((number for number, message in enumerate(messages) if message.role != "system"), len(messages))
    cuts = [number for number in range(head + 1, len(messages)) if messages[number].role == "user"]
    step = max(1, length // STEP)
    wanted = -(-(whole + room - length) // step) * step

    def freed(cut: int) -> int:
        return whole - count([*messages[:head], *messages[cut:]])

    first = bisect_left(cuts, wanted, key=freed)
    if first < len(cuts):
        return [*messages[:head], *messages[cuts[first] :]], cuts[first] - head
    kept = [*messages[:head], *messages[cuts[-1] :]] if cuts else [*messages]
    if (least := count(kept)) >= length:
        raise InvalidInput(
            f"the conversation's last turn has {least} tokens: the model's context has {length}",
            reason="CONTEXT_OVERFLOW",
        )
    return kept, len(messages) - len(kept)
