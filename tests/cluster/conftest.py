"""The cluster under test: run.sh's own, or the one that KUBECONFIG names."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from charts import preset_values
from cluster import Cluster, Space


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    own = os.environ.get("ANTIPHON_OWN_CLUSTER")
    return Cluster(Path(os.environ["KUBECONFIG"]), Path(own) if own else None)


@pytest.fixture(scope="session")
def own(cluster: Cluster) -> Cluster:
    """For tests that change nodes or the API server, which nobody else's cluster is asked to bear."""
    if cluster.state is None:
        pytest.skip("only in a cluster of run.sh's own")
    return cluster


@pytest.fixture(scope="module")
def stub(cluster: Cluster) -> Iterator[Space]:
    """The platform on stubs, ready."""
    with cluster.namespace() as space:
        space.install(preset_values("stub"))
        yield space
