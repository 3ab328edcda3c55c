"""Images made in a cluster by Kaniko: the builder contract on a genuine cluster, up to the executor's own work."""

from __future__ import annotations

import pytest
from tests.contracts.builder_contract import BuilderContract
from tests.contracts.cluster_builder_fixtures import Kaniko


@pytest.mark.docker
class TestKaniko(Kaniko, BuilderContract):
    """S11, S12."""
