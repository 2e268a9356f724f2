"""The cases that are expected to fail: a file that may only shrink."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("expected_failures.txt")


class BadExpectation(ValueError):
    """A line of the file is not "case item"."""


def read_expected(path: Path = FILE) -> dict[str, str]:
    """The later issue's item by the case's name. Lines that begin with # are comments. Raises BadExpectation."""
    expected: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        parts = line.partition("#")[0].split()
        if not parts:
            continue
        if len(parts) != 2 or parts[0] in expected:
            raise BadExpectation(f"{path.name}:{number}: {line!r} is not a case, once, and the item that mends it")
        expected[parts[0]] = parts[1]
    return expected


@dataclass(frozen=True, slots=True)
class Compared:
    """A run beside what was expected of it."""

    failing: list[str]
    expected: list[str]
    to_remove: list[str]
    unknown: list[str]

    @property
    def is_good(self) -> bool:
        """Return True unless a case fails that may not. One that passes against expectation is only told: what depends
        on how a model hears a sound may go either way.
        """
        return not (self.failing or self.unknown)


def compare(passed: Mapping[str, bool], expected: Iterable[str], known: Iterable[str]) -> Compared:
    """Which cases fail that may not, fail as expected, pass and must leave the file, or are in it by mistake."""
    names, all_known = set(expected), set(known)
    return Compared(
        failing=sorted(name for name, good in passed.items() if not good and name not in names),
        expected=sorted(name for name, good in passed.items() if not good and name in names),
        to_remove=sorted(name for name, good in passed.items() if good and name in names),
        unknown=sorted(names - all_known),
    )
