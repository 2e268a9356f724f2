"""Keeps thoughts out of what is said."""

OPENS, CLOSES = "<think>", "</think>"


class Spoken:
    """Lets through all but a thought at the very beginning, for servers without a reasoning parser.

    With one, thoughts arrive in a field of their own, which is not read.
    """

    def __init__(self) -> None:
        self._waiting = ""
        self._open = True

    def heard(self, text: str) -> str:
        """What of the next piece is to be said, with what was held back until it was clear."""
        if not self._open:
            return text
        self._waiting += text
        begun = self._waiting.lstrip()
        if begun.startswith(OPENS):
            _, closed, rest = begun.partition(CLOSES)
            return self._through(rest.lstrip()) if closed and rest.strip() else ""
        return "" if OPENS.startswith(begun) else self._through(self._waiting)

    def rest(self) -> str:
        """What was held back and is no thought, at the end of the answer."""
        waiting, self._waiting = self._waiting, ""
        return "" if waiting.lstrip().startswith(OPENS) else waiting

    def _through(self, text: str) -> str:
        self._open, self._waiting = False, ""
        return text
