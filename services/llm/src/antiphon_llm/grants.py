"""The tokens that a caller has paid for."""

import asyncio
import re
from dataclasses import dataclass

from antiphon_runtime.errors import InvalidInput

# More grants than this ahead of the model make the caller wait: its requests are no longer read.
AHEAD = 64
# The end of a sentence is sure when white space follows, or is a mark that nothing but one can be.
SENTENCE_END = re.compile(r"[.!?…]['\")\]”’»]*\s|[。！？]")
CLAUSE_END = re.compile(r"[.!?…,;:]['\")\]”’»]*\s|\s[—–-]\s|[。！？，；：、]|\n")


@dataclass(frozen=True, slots=True)
class Grant:
    """`tokens` may be generated, and up to `most` for the end of a sentence. With `whole_clauses` what comes after the
    last clause end is said with the next grant."""

    segment_id: int
    tokens: int
    most: int = 0
    whole_clauses: bool = False


class Allowance:
    """What is left of a grant."""

    def __init__(self, tokens: int, most: int = 0) -> None:
        self._tokens = tokens
        self._most = max(tokens, most)
        self._tail = ""
        self.used = 0

    def spend(self, text: str) -> bool:
        """Pays for a token that said `text`; False when there is none for another."""
        self.used += 1
        before, whole = len(self._tail), self._tail + text
        ended = any(match.end() > before for match in SENTENCE_END.finditer(whole))
        self._tail = whole[-8:]
        return self.used < self._most and not (self.used >= self._tokens and ended)


class Clauses:
    """Holds text back that no clause end follows, where a grant wants whole clauses."""

    def __init__(self) -> None:
        self._held = ""
        self._said = False

    def heard(self, text: str, whole: bool) -> str:
        """What of the text so far is to be said now."""
        self._held += text
        if not whole:
            return self.rest()
        end = max((match.end() for match in CLAUSE_END.finditer(self._held)), default=0)
        said, self._held = self._held[:end], self._held[end:]
        self._said = self._said or bool(said)
        return said

    def rested(self) -> str:
        """What is to be said at the end of a grant: all, when it had no clause end."""
        said, self._said = self._said, False
        return "" if said else self.rest()

    def rest(self) -> str:
        """All that is held back."""
        held, self._held = self._held, ""
        return held


class Grants:
    """A caller's grants in their order, from the task that reads requests to the one that generates."""

    def __init__(self, timeout_s: float | None = None) -> None:
        self._queue: asyncio.Queue[Grant | None] = asyncio.Queue(maxsize=AHEAD)
        self._timeout_s = timeout_s
        self._ended = False
        self.current: Grant | None = None

    async def add(self, grant: Grant) -> None:
        """Waits while the model has as many left as it may."""
        await self._queue.put(grant)

    async def end(self) -> None:
        """Says that no more will come."""
        await self._queue.put(None)

    async def next(self) -> Grant | None:
        """The next grant, None once there will be none. Raises InvalidInput when none comes in time."""
        if self._ended:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                grant = await self._queue.get()
        except TimeoutError:
            message = f"no grant came within {self._timeout_s:g} s: the slot is given to somebody else"
            raise InvalidInput(message, reason="GRANT_TIMEOUT") from None
        self._ended = grant is None
        self.current = grant or self.current
        return grant
