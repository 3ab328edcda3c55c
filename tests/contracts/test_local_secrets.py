"""Secrets in files and in the environment: the secrets contract, and what is particular to one machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.secrets_contract import SecretsContract

from slipway.adapters.local.secrets import LocalSecrets
from slipway.errors import Forbidden, Invalid, Permanent


class TestSecretsInFiles(SecretsContract):
    @pytest.fixture
    def secrets(self, tmp_path: Path) -> LocalSecrets:
        return LocalSecrets(tmp_path, {})

    @pytest.fixture
    def keep(self, tmp_path: Path) -> Callable[[str, str], None]:
        return lambda name, value: write(tmp_path, name, f"{value}\n".encode())


class TestSecretsInTheEnvironment(SecretsContract):
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {}

    @pytest.fixture
    def secrets(self, tmp_path: Path, environ: dict[str, str]) -> LocalSecrets:
        return LocalSecrets(tmp_path, environ)

    @pytest.fixture
    def keep(self, environ: dict[str, str]) -> Callable[[str, str], None]:
        return environ.__setitem__


class TestWhatIsParticular:
    def test_a_file_wins_over_the_environment(self, tmp_path: Path) -> None:
        write(tmp_path, "TOKEN", b"of the file")
        assert LocalSecrets(tmp_path, {"TOKEN": "of the environment"}).get("TOKEN") == "of the file"

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
    def test_a_file_that_others_can_use_is_refused_with_the_cure(self, tmp_path: Path, mode: int) -> None:
        write(tmp_path, "TOKEN", b"s3cr3t", mode)
        with pytest.raises(Forbidden, match=r"chmod 600 .*TOKEN") as caught:
            LocalSecrets(tmp_path, {"TOKEN": "of the environment"}).get("TOKEN")
        assert "s3cr3t" not in str(caught.value)

    def test_what_is_no_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "secrets" / "TOKEN").mkdir(parents=True, mode=0o700)
        with pytest.raises(Forbidden, match="TOKEN"):
            LocalSecrets(tmp_path, {}).get("TOKEN")

    def test_bytes_that_are_no_text_are_refused_without_being_shown(self, tmp_path: Path) -> None:
        write(tmp_path, "TOKEN", b"s3cr3t\xff")
        with pytest.raises(Permanent, match="UTF-8") as caught:
            LocalSecrets(tmp_path, {}).get("TOKEN")
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    @given(
        name=st.text(max_size=8).filter(
            lambda name: not name or set(name) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
        )
    )
    def test_a_name_cannot_lead_elsewhere(self, name: str) -> None:
        with pytest.raises(Invalid, match="secret"):
            LocalSecrets(Path("/nowhere"), {name: "value"}).get(name)


def write(home: Path, name: str, content: bytes, mode: int = 0o600) -> None:
    path = home / "secrets" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
