"""The logins that Docker keeps, as files and behind helpers."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from slipway.adapters.local.docker_login import credentials
from slipway.errors import Permanent


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "config.json"


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def helper(config: Path, script: str) -> None:
    path = config.parent / "docker-credential-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_a_file_there_is_no_login(config: Path) -> None:
    assert credentials("registry.example.com") is None


@pytest.mark.parametrize("name", ["registry.example.com:5000", "https://registry.example.com:5000"])
def test_a_login_in_the_file_is_found(config: Path, name: str) -> None:
    config.write_text(json.dumps({"auths": {name: auth("me:pass:with:colons")}}))
    assert credentials("registry.example.com:5000") == ("me", "pass:with:colons")
    assert credentials("other.example.com") is None


def test_docker_hub_goes_by_its_old_name(config: Path) -> None:
    config.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": auth("me:pw")}}))
    assert credentials("docker.io") == ("me", "pw")


def test_a_helper_is_asked_for_its_registry(config: Path) -> None:
    config.write_text(json.dumps({"credHelpers": {"r.example.com": "test"}}))
    helper(config, """read -r server; echo "{\\"Username\\": \\"$server\\", \\"Secret\\": \\"pw\\"}" """)
    assert credentials("r.example.com") == ("r.example.com", "pw")


def test_a_helper_that_knows_nothing_is_no_login(config: Path) -> None:
    config.write_text(json.dumps({"credsStore": "test"}))
    helper(config, "echo 'credentials not found in native keychain'; exit 1")
    assert credentials("r.example.com") is None


def test_a_helper_that_is_not_there_is_named(config: Path) -> None:
    config.write_text(json.dumps({"credsStore": "nowhere"}))
    with pytest.raises(Permanent, match="docker-credential-nowhere"):
        credentials("r.example.com")


def test_what_cannot_be_read_is_said_without_the_secret(config: Path) -> None:
    config.write_text(json.dumps({"credsStore": "test"}))
    helper(config, "echo 's3cr3t and no JSON'")
    with pytest.raises(Permanent) as refusal:
        credentials("r.example.com")
    assert "s3cr3t" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("text", ["{", '{"auths": {"r.example.com": {"auth": "%%%"}}}'])
def test_a_broken_file_names_the_cure(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(Permanent, match="docker login"):
        credentials("r.example.com")
