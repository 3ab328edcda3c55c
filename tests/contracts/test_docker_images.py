"""The local Docker image store as a registry."""

from __future__ import annotations

import pytest
from tests import services
from tests.contracts.registry_contract import RegistryContract

from slipway.adapters.local.docker_images import DockerImages
from slipway.errors import Temporary
from slipway.model import Presence
from slipway.ports import Registry


@pytest.mark.docker
class TestDockerImages(RegistryContract):
    @pytest.fixture
    def registry(self) -> Registry:
        services.docker()
        return DockerImages()

    @pytest.fixture
    def present(self) -> str:
        return services.base_image()

    def test_a_name_that_is_an_option_is_only_a_name(self, registry: Registry) -> None:
        assert registry.presence("--help") is Presence.ABSENT


def test_no_engine_is_temporary_and_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 2, bad input: Docker engine absent."""
    services.program("docker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(Temporary, match="make services"):
        DockerImages().presence("python:3")
