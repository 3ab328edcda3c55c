"""What every store of blobs does. A binding provides the fixture below: a new, empty one."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from slipway.ports import Blobs, SignedBlobs


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


class SignedBlobsContract:
    """Of those that somebody without an identity can read. The fixture is the one of BlobsContract."""

    @pytest.mark.parametrize("key", ["contexts/a.tar.gz", "a b+c&d=e%20.zip", "équipe/🚢"])
    def test_a_signed_url_reads_what_is_there_without_any_identity(self, blobs: SignedBlobs, key: str) -> None:
        blobs.put(key, b"here")
        answer = httpx.get(blobs.signed(key, 60.0), trust_env=False)
        assert (answer.status_code, answer.content) == (200, b"here")

    def test_a_signed_url_is_of_one_key_alone(self, blobs: SignedBlobs) -> None:
        blobs.put("a", b"a")
        blobs.put("b", b"b")
        assert [httpx.get(blobs.signed(key, 60.0), trust_env=False).content for key in ("a", "b")] == [b"a", b"b"]

    def test_what_is_not_there_yet_can_be_signed_for(self, blobs: SignedBlobs) -> None:
        url = blobs.signed("later", 60.0)
        assert httpx.get(url, trust_env=False).status_code == 404
        blobs.put("later", b"now")
        assert httpx.get(url, trust_env=False).content == b"now"
