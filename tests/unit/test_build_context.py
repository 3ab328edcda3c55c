"""The zip that CodeBuild gets: the same bytes for the same content, with modes and links."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from slipway.adapters.aws.build_context import pack
from slipway.errors import Permanent, Refused


def tree(root: Path, *, at: float = 1e9, order: int = 1) -> Path:
    """Files of one content; times, and the order in which they were made, as told."""
    root.mkdir()
    for name in ["train.py", "data/größe.txt", "data/b.txt"][::order]:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
        (root / name).chmod(0o644)
        os.utime(root / name, (at, at))
    (root / "train.py").chmod(0o755)
    (root / "link").symlink_to("data/b.txt")
    (root / "empty").mkdir()
    for folder in (root / "data", root / "empty"):
        folder.chmod(0o755)
    return root


def members(packed: Path) -> dict[str, tarfile.TarInfo]:
    with zipfile.ZipFile(packed) as archive, tarfile.open(fileobj=io.BytesIO(archive.read("context.tar"))) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    first = pack(tree(tmp_path / "a"), {"Dockerfile": "FROM scratch\n", "arguments": ""}, tmp_path / "a.zip")
    second = pack(
        tree(tmp_path / "b", at=1.6e9, order=-1), {"arguments": "", "Dockerfile": "FROM scratch\n"}, tmp_path / "b.zip"
    )
    assert first == second
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert first == hashlib.sha256((tmp_path / "a.zip").read_bytes()).hexdigest()


@pytest.mark.parametrize("change", ["content", "mode", "link", "name", "text"])
def test_another_content_is_another_digest(tmp_path: Path, change: str) -> None:
    plain, changed = tree(tmp_path / "a"), tree(tmp_path / "b")
    beside = {"Dockerfile": "FROM scratch\n"}
    first = pack(plain, beside, tmp_path / "a.zip")
    {
        "content": lambda: (changed / "train.py").write_text("TRAIN.PY"),
        "mode": lambda: (changed / "train.py").chmod(0o644),
        "link": lambda: ((changed / "link").unlink(), (changed / "link").symlink_to("train.py")),
        "name": lambda: (changed / "train.py").rename(changed / "learn.py"),
        "text": lambda: beside.update({"Dockerfile": "FROM base\n"}),
    }[change]()
    assert pack(changed, beside, tmp_path / "b.zip") != first


def test_modes_links_and_folders_are_kept_and_nobody_owns_them(tmp_path: Path) -> None:
    pack(tree(tmp_path / "a"), {}, tmp_path / "a.zip")
    found = members(tmp_path / "a.zip")
    assert list(found) == ["data", "data/b.txt", "data/größe.txt", "empty", "link", "train.py"]
    assert found["train.py"].mode == 0o755
    assert found["data/b.txt"].mode == 0o644
    assert found["link"].issym()
    assert found["link"].linkname == "data/b.txt"
    assert found["empty"].isdir()
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in found.values()} == {(0, 0, "", 0)}


def test_texts_lie_beside_the_context(tmp_path: Path) -> None:
    pack(tree(tmp_path / "a"), {"Dockerfile": "FROM größe\n"}, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert sorted(archive.namelist()) == ["Dockerfile", "context.tar"]
        assert archive.read("Dockerfile").decode() == "FROM größe\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="nowhere"):
        pack(tmp_path / "nowhere", {}, tmp_path / "a.zip")


def test_a_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="UTF-8"):
        pack(tree(tmp_path / "a"), {"Dockerfile": "\udcff"}, tmp_path / "a.zip")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "a")
    os.mkfifo(root / "data" / "pipe")
    with pytest.raises(Permanent, match="data/pipe"):
        pack(root, {}, tmp_path / "a.zip")


def test_no_room_is_no_reason_to_give_up(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be packed"):
        pack(tree(tmp_path / "a"), {}, Path("/dev/full"))
