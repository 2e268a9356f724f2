"""Writes the boards as Grafana imports them: `make dashboards`."""

import sys
from pathlib import Path

from boards import call, capacity, latency
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = {"latency": latency, "capacity": capacity, "call": call}


def rendered() -> dict[str, str]:
    """Each board's JSON by its name."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {name: f"{encoder.encode(board.build().build())}\n" for name, board in BOARDS.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in rendered().items():
        (FOLDER / f"{name}.json").write_text(text)
        print(f"wrote {FOLDER / name}.json", file=sys.stderr)
