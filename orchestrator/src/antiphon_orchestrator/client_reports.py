"""Reports about a call that callers' own software sends."""

from typing import Any

# Upper bound of one report's count: callers' software is not trusted.
MOST_UNDERRUNS = 1000


def underruns(message: Any) -> int:
    """Return the number of playback gaps reported by {"type": "antiphon.underruns", "count": N}.

    At most MOST_UNDERRUNS; 0 for any other message, and for a malformed one.
    """
    if not isinstance(message, dict) or message.get("type") != "antiphon.underruns":
        return 0
    count = message.get("count")
    return min(count, MOST_UNDERRUNS) if type(count) is int and count > 0 else 0
