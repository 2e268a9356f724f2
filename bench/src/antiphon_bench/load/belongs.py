"""Whether an answer belongs to its question."""

from collections.abc import Sequence

from ..asr.wer import errors_between, normaliser
from .material import Question

# Of the words that were said, so many may be misheard before it was another question.
MOST_WRONG = 0.5


class Judge:
    """Compares what the server reports with what was asked, among all questions of the set."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self._words = normaliser("en")
        self._said = {question.name: self._words(question.said) for question in questions if question.said}

    def complaint(self, question: Question, heard: str, answered: str) -> str:
        """Why the answer is another question's, "" when it is not. What cannot be told is no complaint.

        With expected words, the answer must have them. Without, what was heard must be no nearer to another question of
        the set, and have at least half of the words right.
        """
        if question.expected:
            have = set(self._words(answered))
            missing = [word for word in self._words(" ".join(question.expected)) if word not in have]
            return f"the answer lacks {', '.join(missing)}" if missing else ""
        said = self._said.get(question.name)
        if not said or not heard:
            return ""
        words = self._words(heard)
        wrong = self._distance(said, words)
        nearest = min(self._said, key=lambda name: self._distance(self._said[name], words))
        if self._distance(self._said[nearest], words) < wrong:
            return f"it heard {nearest}, not {question.name}"
        return f"it heard {heard!r}" if wrong > MOST_WRONG else ""

    @staticmethod
    def _distance(said: Sequence[str], heard: Sequence[str]) -> float:
        return errors_between(said, heard).count / len(said)
