"""Counts and selections of tests: CI takes the reduced ones, `make soak` the full ones."""

import os
from typing import TypeVar

T = TypeVar("T")


def counted(*, full: T, reduced: T) -> T:
    return full if os.environ.get("ANTIPHON_SOAK") else reduced
