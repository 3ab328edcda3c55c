"""What every store of blobs does. A binding provides the fixture below: a new, empty one."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.ports import Blobs


class BlobsContract:
    @pytest.fixture
    def blobs(self) -> Blobs:
        raise AssertionError("the binding provides it")

    def test_there_is_nothing_under_an_unknown_key(self, blobs: Blobs) -> None:
        blobs.put("contexts/a.zip", b"a")
        assert blobs.get("contexts/b.zip") is None
        assert blobs.get("contexts") is None

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04\x00\xff", "zeile ß\n".encode() * 300_000])
    def test_bytes_come_back_as_they_were_put(self, blobs: Blobs, content: bytes) -> None:
        blobs.put("contexts/a.zip", content)
        assert blobs.get("contexts/a.zip") == content

    @pytest.mark.parametrize("content", [b"", b"\x00line\r\n" * 500_000])
    def test_a_file_is_put_with_its_content(self, blobs: Blobs, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "context.zip"
        path.write_bytes(content)
        blobs.put("contexts/a.zip", path)
        path.unlink()
        assert blobs.get("contexts/a.zip") == content

    def test_what_was_there_is_replaced(self, blobs: Blobs) -> None:
        blobs.put("a", b"a longer first content")
        blobs.put("a", b"second")
        assert blobs.get("a") == b"second"

    @pytest.mark.parametrize("key", ["a b+c&d=e%20.zip", "équipe/🚢", "a//b", "items/01a/" + "0" * 64, "../up"])
    def test_a_key_is_taken_as_it_is(self, blobs: Blobs, key: str) -> None:
        blobs.put(key, b"here")
        assert blobs.get(key) == b"here"
        assert blobs.get(key + "x") is None

    def test_what_a_caller_changes_in_place_is_not_changed_there(self, blobs: Blobs) -> None:
        content = bytearray(b"first")
        blobs.put("a", content)
        content[:] = b"other"
        assert blobs.get("a") == b"first"
