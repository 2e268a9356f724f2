"""Pods that tests run beside the platform, in the image that helm test calls with."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charts import RELEASE
from cluster import QUICK, SECRET, Space, until

SCRIPT = Path(__file__).with_name("callers.py")


def _all_answered(outcomes: list[str]) -> bool:
    """Return whether every turn was answered, whatever a busy machine did to the caller's own audio.

    Audio that stalls at a turn's end leaves it answered, as `stalled`. Audio that stalls within a question cuts it in
    two: its rest comes late and interrupts the answer to its beginning, in a turn that is `stalled`.
    """
    cut_in_two = {("interrupted", "stalled")}
    pairs = zip(outcomes, [*outcomes[1:], ""], strict=True)
    return bool(outcomes) and all(one in ("answered", "stalled") or (one, after) in cut_in_two for one, after in pairs)


def _image() -> str:
    image = QUICK["image"]
    name = f"antiphon/caller:{image['tag']}"
    return f"{image['registry']}/{name}" if image["registry"] else name


def _pod(name: str, turns: int) -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001},
            "containers": [
                {
                    "name": "callers",
                    "image": _image(),
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "/script/callers.py"],
                    "env": [{"name": "RELEASE", "value": RELEASE}, {"name": "TURNS", "value": str(turns)}],
                    "securityContext": security,
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "script", "mountPath": "/script"},
                        {"name": "tokens", "mountPath": "/etc/antiphon/tokens"},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "script", "configMap": {"name": name}},
                {"name": "tokens", "secret": {"secretName": SECRET, "defaultMode": 0o440}},
            ],
        },
    }


class Callers:
    """Results of the calls and streams, available once the context of `calling` has ended."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    @property
    def problems(self) -> list[str]:
        """Every call that broke or had a turn without an answer, every stream that was not served."""
        calls = [*(call for one in self.told["long"] for call in one), *self.told["short"]]
        wrong = [f"call: {call}" for call in calls if call["error"] or not _all_answered(call["outcomes"])]
        return wrong + [f"stream: {one}" for one in self.told["streams"] if one["error"]]

    @property
    def counts(self) -> dict[str, int]:
        return {
            "lasting calls": sum(len(one) for one in self.told["long"]),
            "short calls": len(self.told["short"]),
            "streams": len(self.told["streams"]),
        }


@contextmanager
def calling(space: Space, name: str, *, turns: int) -> Iterator[Callers]:
    """Calls and streams while the context lasts; at its end those under way are waited for."""
    callers = Callers()
    space.kubectl("create", "configmap", name, f"--from-file=callers.py={SCRIPT}")
    space.kubectl("apply", "-f", "-", stdin=json.dumps(_pod(name, turns)))
    try:
        until(lambda: "calling" in _log(space, name), "the callers call", 60)
        yield callers
        space.kubectl("exec", name, "--", "touch", "/tmp/stop")
        until(lambda: _phase(space, name) in ("Succeeded", "Failed"), "the callers have hung up", 240)
        assert _phase(space, name) == "Succeeded", _log(space, name)
        callers.told = json.loads(_log(space, name).splitlines()[-1])
    finally:
        space.kubectl("delete", "pod", name, "--now", "--wait=true")
        space.kubectl("delete", "configmap", name)


def _phase(space: Space, name: str) -> str:
    return str(space.get("pod", name)["status"]["phase"])


def _log(space: Space, name: str) -> str:
    return space.kubectl("logs", name) if _phase(space, name) != "Pending" else ""
