"""The build context: the same entries for the same tree, on any machine, and nothing from outside it."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.context import Entry, copy, entries, locate, read_ignore
from slipway.dockerignore import Ignore, parse
from slipway.errors import NotFound, Permanent, Temporary

NAMES = st.sampled_from(["a", "b.py", "Z", "é", "with space", "x-y"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(PATHS, st.tuples(st.binary(max_size=8), st.booleans()), min_size=1, max_size=6).filter(
    lambda tree: not any(other.startswith(path + "/") for path in tree for other in tree)
)
Tree = dict[str, tuple[bytes, bool]]


def write(root: Path, tree: Tree) -> Path:
    for path, (content, executable) in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        if executable:
            (root / path).chmod((root / path).stat().st_mode | 0o100)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@pytest.fixture
def _umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_an_entry_is_path_kind_executable_bit_and_content(root: Path) -> None:
    write(root, {"src/run.sh": (b"echo", True), "a.txt": (b"", False)})
    (root / "src" / "link").symlink_to("../a.txt")
    assert entries(root, Ignore()) == (
        Entry("a.txt", "file", False, hashlib.sha256(b"").hexdigest()),
        Entry("src/link", "link", False, "../a.txt"),
        Entry("src/run.sh", "file", True, hashlib.sha256(b"echo").hexdigest()),
    )


@given(TREES, st.randoms(), st.sampled_from([0o000, 0o022, 0o027, 0o077]), st.integers(0, 2**31))
@settings(max_examples=50)
def test_entries_do_not_depend_on_place_order_umask_or_time(tree: Tree, random: object, umask: int, time: int) -> None:
    shuffled = list(tree.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        first = entries(write(Path(one), tree), Ignore())
        before = os.umask(umask)
        try:
            write(Path(other), dict(shuffled))
        finally:
            os.umask(before)
        for path in tree:
            os.utime(Path(other) / path, (time, time))
        assert entries(Path(other), Ignore()) == first
        assert [entry.path for entry in first] == sorted(tree)


@given(TREES)
@settings(max_examples=50)
def test_a_copy_has_the_same_entries(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        found = entries(write(Path(one), tree), Ignore())
        copy(found, Path(one), Path(other) / "new")
        assert entries(Path(other) / "new", Ignore()) == found


@pytest.mark.usefixtures("_umask")
def test_a_copy_can_be_read_by_whatever_user_the_image_runs_as(root: Path, tmp_path: Path) -> None:
    write(root, {"deep/er/run.sh": (b"", True), "deep/data": (b"", False)})
    copy(entries(root, Ignore()), root, tmp_path / "copy")
    modes = {path: (tmp_path / "copy" / path).stat().st_mode & 0o777 for path in (".", "deep", "deep/er")}
    assert set(modes.values()) == {0o755}
    assert (tmp_path / "copy" / "deep" / "er" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "copy" / "deep" / "data").stat().st_mode & 0o777 == 0o644


def test_only_the_entries_are_copied(root: Path, tmp_path: Path) -> None:
    write(root, {"data/big.bin": (b"x", False), "train.py": (b"", False), ".git/HEAD": (b"", False)})
    copy(entries(root, parse("data")), root, tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["train.py"]


def test_version_control_and_pythons_caches_are_never_part_of_it(root: Path) -> None:
    write(root, dict.fromkeys(("a/.git/HEAD", "b/.git", ".hg/x", ".svn/x", "a/__pycache__/t.pyc", "c"), (b"", False)))
    assert [entry.path for entry in entries(root, parse("!**"))] == ["c"]


def test_the_ignore_file_is_read_from_the_root(root: Path) -> None:
    write(root, {".dockerignore": (b"*.log\n", False), "a.log": (b"", False), "b": (b"", False)})
    assert [entry.path for entry in entries(root, read_ignore(root))] == [".dockerignore", "b"]


def test_a_tree_without_an_ignore_file_keeps_everything(root: Path) -> None:
    assert read_ignore(root) == Ignore()


def test_a_folder_that_is_left_out_is_not_looked_into(root: Path) -> None:
    (root / "data").mkdir()
    (root / "data" / "out").symlink_to("/etc/passwd")
    assert entries(root, parse("data")) == ()


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside", "up/../outside", ".."])
def test_a_link_out_of_the_tree_is_refused_by_name(root: Path, target: str) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "up").symlink_to("..")
    (root / "up").symlink_to("sub/up")
    (root / "bad").symlink_to(target)
    with pytest.raises(Permanent, match=r"'bad'.*out of the source tree"):
        entries(root, Ignore())


def test_a_link_that_leaves_through_another_link_is_refused(root: Path) -> None:
    """By its letters it stays inside: `deep/er/../..` is the root. But `deep/er` lies at the root itself."""
    (root / "flat").mkdir()
    (root / "deep").mkdir()
    (root / "deep" / "er").symlink_to("../flat")
    (root / "bad").symlink_to("deep/er/../..")
    with pytest.raises(Permanent, match="'bad'"):
        entries(root, Ignore())


def test_a_link_that_leaves_and_comes_back_depends_on_the_clones_name_and_is_refused(root: Path) -> None:
    write(root, {"a": (b"", False)})
    (root / "bad").symlink_to(f"../{root.name}/a")
    with pytest.raises(Permanent, match="'bad'"):
        entries(root, Ignore())


def test_links_inside_the_tree_are_kept_even_when_they_lead_nowhere(root: Path, tmp_path: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "to_root").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "nowhere").symlink_to("missing/file")
    found = entries(root, Ignore())
    assert [(entry.path, entry.content) for entry in found] == [
        ("loop", "loop"),
        ("nowhere", "missing/file"),
        ("sub/to_root", ".."),
    ]
    copy(found, root, tmp_path / "copy")
    assert entries(tmp_path / "copy", Ignore()) == found


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, tempfile.TemporaryDirectory() as short:
        listener.bind(f"{short}/door")
        with pytest.raises(Permanent, match=r"'door'.*neither"):
            entries(Path(short), Ignore())


def test_a_name_that_is_no_text_is_refused(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9")).touch()
    with pytest.raises(Permanent, match=r"caf\\udce9.*UTF-8"):
        entries(root, Ignore())


def test_a_tree_deeper_than_pythons_stack_is_walked(root: Path) -> None:
    deep = root
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    assert len(entries(root, Ignore())) == 1


def test_a_missing_tree_is_not_found(root: Path) -> None:
    with pytest.raises(NotFound):
        entries(root / "missing", Ignore())


def test_a_copy_that_the_disk_refuses_is_temporary(root: Path, tmp_path: Path) -> None:
    write(root, {"a": (b"", False)})
    (tmp_path / "file").touch()
    with pytest.raises(Temporary, match="could not be copied"):
        copy(entries(root, Ignore()), root, tmp_path / "file" / "in")


def test_a_path_is_located_through_links_that_stay_inside(root: Path) -> None:
    write(root, {"src/train.py": (b"", False)})
    (root / "code").symlink_to("src")
    assert locate(root, "code/./train.py") == root / "src" / "train.py"
    assert locate(root, "code/missing.py") is None
    assert locate(root, ".") == root


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "out/passwd"])
def test_a_path_that_leaves_is_refused(root: Path, path: str) -> None:
    (root / "out").symlink_to("/etc")
    with pytest.raises(Permanent, match="leaves the source tree"):
        locate(root, path)


def test_a_name_too_long_for_the_system_is_permanent(root: Path) -> None:
    with pytest.raises(Permanent, match="cannot be read"):
        locate(root, "x" * 5000)
