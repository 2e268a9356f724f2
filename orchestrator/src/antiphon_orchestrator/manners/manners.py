"""When an agent speaks up by itself, and when it hangs up."""

from collections.abc import Awaitable, Callable

from ..timeline import Turn
from .phrases import Occasion

# Turns in a row that failed before the agent gives up, and prompts before it takes the caller for gone.
MOST_FAILURES = 3
MOST_PROMPTS = 2


class Manners:
    """Of one conversation. After an apology too many, or a prompt too many, the agent says goodbye and hangs up."""

    def __init__(self, say: Callable[[Occasion], Awaitable[None]], hang_up: Callable[[], Awaitable[None]]) -> None:
        self._say = say
        self._hang_up = hang_up
        self._failures = 0
        self._prompts = 0

    async def turn_over(self, turn: Turn, *, waiting: bool) -> None:
        """`waiting`: whether the caller now waits in silence for an answer that will not come."""
        self._prompts = 0
        if turn.outcome == "answered":
            self._failures = 0
        if not waiting:
            return
        self._failures += 1
        if self._failures < MOST_FAILURES:
            await self._say(Occasion.APOLOGY)
        else:
            await self._part(Occasion.FAREWELL)

    async def idle(self) -> None:
        """Nobody has spoken for as long as the agent bears."""
        self._prompts += 1
        if self._prompts <= MOST_PROMPTS:
            await self._say(Occasion.PROMPT)
        else:
            await self._part(Occasion.GOODBYE)

    async def _part(self, words: Occasion) -> None:
        await self._say(words)
        await self._hang_up()
