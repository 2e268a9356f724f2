"""The cases that are expected to fail: a file that may only shrink."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("expected_failures.txt")
SOMETIMES = "sometimes"


class BadExpectation(ValueError):
    """A line of the file is not "case item", with or without "sometimes"."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A case that fails until a later issue's item mends it; `sometimes` as a model happens to hear a sound."""

    item: str
    sometimes: bool = False


def read_expected(path: Path = FILE) -> dict[str, Expectation]:
    """The expectations by the cases' names. Lines that begin with # are comments. Raises BadExpectation."""
    expected: dict[str, Expectation] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        name, *rest = line.partition("#")[0].split() or [""]
        if not name:
            continue
        if len(rest) not in (1, 2) or rest[1:] not in ([], [SOMETIMES]) or name in expected:
            wanted = f'a case, once, the item that mends it and perhaps "{SOMETIMES}"'
            raise BadExpectation(f"{path.name}:{number}: {line!r} is not {wanted}")
        expected[name] = Expectation(rest[0], len(rest) == 2)
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
        """True unless a case fails that may not, passes that should have left the file, or is unknown."""
        return not (self.failing or self.to_remove or self.unknown)


def compare(
    passed: Mapping[str, bool],
    expected: Mapping[str, Expectation],
    known: Collection[str],
    not_run: Collection[str] = (),
) -> Compared:
    """Sort the cases of a run. One that was not run, or crashed, is a failure whatever was expected of it."""
    may_fail = {name for name in expected if name not in not_run}
    failed = [name for name, good in passed.items() if not good]
    return Compared(
        failing=sorted(name for name in failed if name not in may_fail),
        expected=sorted(name for name in failed if name in may_fail),
        to_remove=sorted(
            name for name, good in passed.items() if good and name in expected and not expected[name].sometimes
        ),
        unknown=sorted(set(expected) - set(known)),
    )
