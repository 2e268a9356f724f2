"""What callers' own software tells us about a call."""

from typing import Any

# Of a report: a caller who claims more is believed this much.
MOST_UNDERRUNS = 1000


def underruns(message: Any) -> int:
    """How many gaps in the agent's speech a player reports with {"type": "antiphon.underruns", "count": N}.

    0 when the message is another one, or makes no sense.
    """
    if not isinstance(message, dict) or message.get("type") != "antiphon.underruns":
        return 0
    count = message.get("count")
    return min(count, MOST_UNDERRUNS) if type(count) is int and count > 0 else 0
