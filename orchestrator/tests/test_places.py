"""Places, also those that several processes share."""

import subprocess
import sys
from pathlib import Path

import pytest

from antiphon_orchestrator.workers.places import Places, SharedPlaces

HOLDER = """
import sys
from pathlib import Path
from antiphon_orchestrator.workers.places import SharedPlaces
places = SharedPlaces(3, Path(sys.argv[1]))
print(places.take(), places.take(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["own", "shared"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    return Places(2) if request.param == "own" else SharedPlaces(2, tmp_path / "places")


def test_the_lowest_free_place_is_taken_and_none_twice(places: Places) -> None:
    assert (places.take(), places.take(), places.take()) == (0, 1, None) and places.are_taken()
    places.give_back(0)
    assert not places.are_taken() and places.take() == 0


def test_places_are_of_all_processes_together_and_a_dead_one_holds_none(tmp_path: Path) -> None:
    path = tmp_path / "places"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == "0 1\n"
        ours = SharedPlaces(3, path)
        assert ours.take() == 2 and ours.take() is None
        holder.kill()
        holder.wait()
        assert ours.take() == 0
        ours.close()
