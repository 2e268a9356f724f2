"""Decides when an agent speaks up by itself, and when it hangs up."""

from collections.abc import Awaitable, Callable

from .phrases import Occasion

# Answers missed in a row before the agent gives up, and prompts before it takes the caller for gone.
MOST_FAILURES = 3
MOST_PROMPTS = 2


class Manners:
    """Policy of one conversation: after too many apologies or prompts the agent says goodbye and hangs up.

    Independent of all instruments: its input comes from the pipeline itself.
    """

    def __init__(
        self, say: Callable[[Occasion], Awaitable[None]], leave: Callable[[Occasion], Awaitable[None]]
    ) -> None:
        """`leave` says a phrase as the last of the call, and hangs up."""
        self._say = say
        self._leave = leave
        self._failures = 0
        self._prompts = 0

    def caller_spoke(self) -> None:
        """A turn of the caller's had words."""
        self._prompts = 0

    def answered(self) -> None:
        """An answer was heard to its end."""
        self._failures = 0

    async def missed(self) -> None:
        """The caller waits for an answer that will not come."""
        self._failures += 1
        if self._failures < MOST_FAILURES:
            await self._say(Occasion.APOLOGY)
        else:
            await self._leave(Occasion.FAREWELL)

    async def idle(self) -> None:
        """Nobody has spoken for as long as the agent allows."""
        self._prompts += 1
        if self._prompts <= MOST_PROMPTS:
            await self._say(Occasion.PROMPT)
        else:
            await self._leave(Occasion.GOODBYE)
