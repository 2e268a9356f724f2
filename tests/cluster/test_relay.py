"""coturn as the chart starts it, with credentials as the orchestrator signs them."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from calls import PYTHON
from charts import documents, pod_specs
from cluster import Cluster, until

SECRET, ADDRESS = "r" * 40, "10.98.0.1"
PROBE = Path(__file__).with_name("allocate.py")


@contextmanager
def turnserver() -> Iterator[None]:
    """Debian's, with the arguments of the chart's container, at an address of the cluster's namespace."""
    values = {"coturn": {"enabled": True}, "webrtc": {"enabled": True, "relaySecret": "relay"}}
    (container,) = pod_specs(documents(values))["Deployment/antiphon-coturn"]["containers"]
    known = {"$(POD_IP)": ADDRESS, "$(RELAY_SECRET)": SECRET}
    args = container["args"]
    for name, value in known.items():
        args = [arg.replace(name, value) for arg in args]
    with subprocess.Popen([*container["command"], *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            until(_listens, "coturn listens", 20)
            yield
        finally:
            process.kill()


def _listens() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, 3478)) == 0


def allocated(secret: str) -> str:
    """What comes of asking for a relay with a credential that `secret` signs: its address, or why not."""
    command = [str(PYTHON), str(PROBE), f"turn:{ADDRESS}:3478", secret]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()


def test_a_signed_credential_gets_a_relay_between_the_ports_that_are_let_through(own: Cluster) -> None:
    if not shutil.which("turnserver"):
        pytest.skip("Debian's coturn is not installed")
    with turnserver():
        host, _, port = allocated(SECRET).rpartition(":")
        assert host == ADDRESS and 49160 <= int(port) <= 49959
        assert "401" in allocated("x" * 40)
