"""A model's pod is killed in the middle of a turn."""

import time

import pytest
from calls import call, placed
from charts import preset_values
from cluster import Space

MODELS = ("asr", "tts", "llm", "turn")
# The caller dials, and is in the middle of the question.
MID_TURN_S = 1.2
SOON_S = 5.0


@pytest.mark.parametrize("model", MODELS)
def test_the_only_pod_of(stub: Space, model: str) -> None:
    """Its loss ends in an answer, or in a spoken apology, at the latest soon after its return."""
    assert call(stub)["outcome"] == "answered"
    (before,) = stub.until_ready(model)
    with placed(stub) as lost:
        time.sleep(MID_TURN_S)
        stub.delete_pods(model, grace_s=0)
        (after,) = stub.until_ready(model)
        returned_at = time.time()
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    told = lost.told
    assert not told["error"], told
    assert told["outcome"] == "answered" or told["apologized"], told
    assert told["spoke_at"] is not None and told["spoke_at"] < returned_at + SOON_S, (told, returned_at)
    assert call(stub)["outcome"] == "answered"


def test_of_two_pods_the_other_answers(stub: Space) -> None:
    two = {name: {"replicas": 2} for name in MODELS}
    stub.upgrade(preset_values("stub"), {"services": two})
    for model in MODELS:
        pods = stub.until_ready(model, 2)
        with placed(stub) as lost:
            time.sleep(MID_TURN_S)
            stub.kubectl("delete", "pod", pods[0]["metadata"]["name"], "--grace-period=0", "--force")
        assert lost.told["outcome"] == "answered", (model, lost.told)
    stub.upgrade(preset_values("stub"))
