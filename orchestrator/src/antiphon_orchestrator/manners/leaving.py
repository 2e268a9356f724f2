"""The end of a call by its agent: in its own words, which are heard to their end."""

from collections.abc import Mapping

from ..session import Session
from .closing import Closing
from .phrases import Line, Occasion, PhraseBook


class Leaving:
    """Notes why an agent leaves its call, and closes it. `closing` is given once there is a pipeline to close."""

    def __init__(self, session: Session, book: PhraseBook, lines: Mapping[Occasion, Line]) -> None:
        self._session = session
        self._book = book
        self._lines = lines
        self.closing: Closing | None = None
        self._left = False

    async def leave(self, last_words: Occasion) -> None:
        """Say a phrase as the last of the call, and hang up."""
        if self._left:
            return
        if last_words is Occasion.GOODBYE:
            idle_s = self._session.agent.idle_after_s
            self._session.limit_reached("silent_caller", f"nothing was said for {idle_s:g} s, and after prompts")
        self._session.end("agent")
        await self._close(last_words)

    async def time_up(self) -> None:
        """End the call because it has lasted as long as a call may."""
        if self._left:
            return
        self._session.limit_reached("call_length", f"the call has lasted {self._session.agent.max_call_s:g} s")
        self._session.end("limit")
        await self._close(Occasion.TIME_UP)

    async def prepare_time_up(self) -> None:
        """Have the words ready that few calls need."""
        await self._book.learn(line for occasion, line in self._lines.items() if occasion is Occasion.TIME_UP)

    async def _close(self, last_words: Occasion) -> None:
        self._left = True
        if self.closing:
            await self.closing.end_with(last_words)
