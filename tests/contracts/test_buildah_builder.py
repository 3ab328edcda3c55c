"""Images made in a cluster by buildah: the builder contract on a genuine cluster, where builds really run."""

from __future__ import annotations

import pytest
from tests.contracts.builder_contract import BuilderContract
from tests.contracts.cluster_builder_fixtures import Buildah


@pytest.mark.docker
class TestBuildah(Buildah, BuilderContract):
    """S11."""
