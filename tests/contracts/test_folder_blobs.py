"""Blobs as files: the contract, and keys that would lead elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contracts.blobs_contract import BlobsContract

from slipway.adapters.local.blobs import FolderBlobs


class TestFolderBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FolderBlobs:
        return FolderBlobs(tmp_path / "blobs")

    @pytest.mark.parametrize("key", [".", "..", "../x", "/etc/passwd", "logs/../../x", "long/" * 100])
    def test_a_key_leads_nowhere_else(self, blobs: FolderBlobs, tmp_path: Path, key: str) -> None:
        blobs.put(key, b"x")
        assert blobs.get(key) == b"x"
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == list((tmp_path / "blobs").iterdir())

    def test_nobody_else_can_read_them(self, blobs: FolderBlobs, tmp_path: Path) -> None:
        blobs.put("logs/a.log", b"x")
        assert (tmp_path / "blobs").stat().st_mode & 0o077 == 0
