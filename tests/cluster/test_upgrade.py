"""Upgrade and rollback of every Deployment while calls are up: no call is dropped and nothing is refused."""

import os

import pytest
from charts import preset_values
from cluster import Space
from pods import calling

RUNS = 3 if os.environ.get("ANTIPHON_SOAK") else 1
TURNS = 12


def generations(space: Space) -> dict[str, str]:
    """The pods of the platform by their component."""
    pods = space.get("pods", "-l", "app.kubernetes.io/name=antiphon")["items"]
    alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["metadata"]["uid"] for pod in alive}


@pytest.mark.parametrize("run", range(RUNS))
def test_upgrade_and_rollback_of_everything_drop_no_call_and_refuse_nothing(stub: Space, run: int) -> None:
    before = generations(stub)
    with calling(stub, f"callers-{run}", turns=TURNS) as callers:
        stub.upgrade(preset_values("stub"), {"defaults": {"podAnnotations": {"upgrade": str(run)}}})
        upgraded = generations(stub)
        stub.rollback()
        back = generations(stub)
    print(callers.counts)
    for name in ("asr", "tts", "llm", "turn", "orchestrator"):
        assert len({before[name], upgraded[name], back[name]}) == 3, f"{name} was not replaced twice"
    assert not callers.problems, callers.problems
    assert callers.counts["lasting calls"] >= 4 and callers.counts["streams"] >= 40
