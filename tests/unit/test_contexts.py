"""A build context as one archive: the same bytes for the same content, with its Dockerfile, and nothing else."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from slipway.adapters.kubernetes.contexts import BucketContexts, ClaimContexts, pack
from slipway.adapters.memory.blobs import MemoryBlobs
from slipway.errors import Permanent, Refused

DOCKERFILE = "FROM scratch\nCOPY . /job\n"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "deep").mkdir(parents=True)
    (folder / "train.py").write_text("print(1)")
    (folder / "deep" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "deep" / "run.sh").chmod(0o700)
    (folder / "link").symlink_to("train.py")
    return folder


def test_the_same_content_is_the_same_bytes_whenever_and_by_whomever(context: Path, tmp_path: Path) -> None:
    first = pack(context, DOCKERFILE, tmp_path / "first.tar.gz")
    os.utime(context / "train.py", (1, 1))
    (context / "train.py").chmod(0o600)
    assert pack(context, DOCKERFILE, tmp_path / "second.tar.gz") == first
    assert (tmp_path / "first.tar.gz").read_bytes() == (tmp_path / "second.tar.gz").read_bytes()


@pytest.mark.parametrize("change", ["content", "mode", "link", "dockerfile"])
def test_whatever_decides_the_image_changes_the_key(context: Path, tmp_path: Path, change: str) -> None:
    first = pack(context, DOCKERFILE, tmp_path / "first.tar.gz")
    changes = {
        "content": lambda: (context / "train.py").write_text("print(2)"),
        "mode": lambda: (context / "train.py").chmod(0o755),
        "link": lambda: ((context / "link").unlink(), (context / "link").symlink_to("deep/run.sh")),
        "dockerfile": lambda: None,
    }
    changes[change]()
    dockerfile = DOCKERFILE + ("# another\n" if change == "dockerfile" else "")
    assert pack(context, dockerfile, tmp_path / "second.tar.gz") != first


def test_everything_is_in_it_and_belongs_to_root(context: Path, tmp_path: Path) -> None:
    packed = tmp_path / "context.tar.gz"
    pack(context, DOCKERFILE, packed)
    with tarfile.open(packed) as archive:
        found = {member.name: member for member in archive}
        assert archive.extractfile("Dockerfile.wandb").read().decode() == DOCKERFILE  # type: ignore[union-attr]
    assert found.keys() == {"train.py", "deep/run.sh", "link", "Dockerfile.wandb"}
    assert (found["train.py"].mode, found["deep/run.sh"].mode) == (0o644, 0o755)
    assert found["link"].linkname == "train.py"
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, 0)}


def test_the_jobs_own_dockerfile_of_that_name_is_there_once(context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile.wandb").write_text("FROM theirs\n")
    packed = tmp_path / "context.tar.gz"
    pack(context, DOCKERFILE, packed)
    with tarfile.open(packed) as archive:
        assert archive.getnames().count("Dockerfile.wandb") == 1
        assert archive.extractfile("Dockerfile.wandb").read().decode() == DOCKERFILE  # type: ignore[union-attr]


def test_what_is_no_part_of_a_context_is_named(context: Path, tmp_path: Path) -> None:
    os.mkfifo(context / "pipe")
    with pytest.raises(Permanent, match="pipe"):
        pack(context, DOCKERFILE, tmp_path / "context.tar.gz")


@pytest.mark.parametrize("dockerfile", ["FROM \udcff"])
def test_a_dockerfile_that_is_no_text_is_permanent(context: Path, tmp_path: Path, dockerfile: str) -> None:
    with pytest.raises(Permanent, match="not UTF-8"):
        pack(context, dockerfile, tmp_path / "context.tar.gz")


def test_without_room_it_is_not_now(context: Path) -> None:
    with pytest.raises(Refused, match="cannot be packed"):
        pack(context, DOCKERFILE, Path("/dev/full"))


def test_a_bucket_has_it_where_its_address_says(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(b"packed")
    blobs = MemoryBlobs()
    contexts = BucketContexts(blobs, "s3://bucket/slipway/")
    contexts.put("contexts/a.tar.gz", tmp_path / "packed")
    assert blobs.get("contexts/a.tar.gz") == b"packed"
    assert contexts.address("contexts/a.tar.gz") == "s3://bucket/slipway/contexts/a.tar.gz"


def test_a_claim_has_it_whole_or_not_at_all_and_readable_by_any_pod(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(b"packed")
    (tmp_path / "volume").mkdir()
    contexts = ClaimContexts(tmp_path / "volume", "contexts")
    for _ in range(2):
        contexts.put("contexts/a.tar.gz", tmp_path / "packed")
    (there,) = (tmp_path / "volume" / "contexts").iterdir()
    assert (there.name, there.read_bytes(), there.stat().st_mode & 0o777) == ("a.tar.gz", b"packed", 0o644)
    assert contexts.address("contexts/a.tar.gz") == "tar:///context/contexts/a.tar.gz"
    assert contexts.right("contexts/a.tar.gz") is None


def test_a_volume_that_is_not_mounted_here_is_not_written_beside(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(b"packed")
    with pytest.raises(Refused, match="mount the volume"):
        ClaimContexts(tmp_path / "volume", "contexts").put("contexts/a.tar.gz", tmp_path / "packed")
    assert not (tmp_path / "volume").exists()
