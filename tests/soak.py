"""How often: CI takes reduced counts, `make soak` the full ones."""

import os


def counted(*, full: int, reduced: int) -> int:
    return full if os.environ.get("ANTIPHON_SOAK") else reduced
