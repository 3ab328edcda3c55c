"""Whatever an archive says, nothing is written outside its folder, and nothing grows without end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slipway.adapters.local.archive import Archives, unpack
from slipway.adapters.local.tree import Limits, Tree, explained
from slipway.errors import Invalid, SlipwayError, Temporary
from slipway.model import ArchiveSource

MIB = 1024**2


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for member, content in members:
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, mode
    return member


def zipped(*members: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, mode in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr, info.compress_type = name, mode << 16, zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return buffer.getvalue()


def unpacked(content: bytes, into: Path, limits: Limits | None = None, limit: int = 10 * MIB) -> set[str]:
    into.mkdir()
    unpack(io.BytesIO(content), Tree(into, limits or Limits()), limit)
    return {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_symlink() or not path.is_dir()}


PLAIN = tar((entry("job/train.py"), b"print()"), (entry("job/run.sh", mode=0o4755), b"#!"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_file_is_known_by_its_bytes(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """S20. Its single top folder is kept."""
    assert unpacked(pack(PLAIN), tmp_path / "into") == {"job/train.py", "job/run.sh"}
    assert stat.S_IMODE((tmp_path / "into/job/run.sh").stat().st_mode) == 0o755


def test_a_zip_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    content = zipped(("a/", b"", 0), ("a/b.py", b"1", 0o100755), ("c", b"2", 0), ("l", b"a/b.py", stat.S_IFLNK | 0o777))
    assert unpacked(content, tmp_path / "into") == {"a/b.py", "c", "l"}
    assert (tmp_path / "into/l").read_bytes() == b"1"
    assert stat.S_IMODE((tmp_path / "into/a/b.py").stat().st_mode) == 0o755


names = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "link", "é", "\\", "C:", "x" * 300, ".git"]) | st.text(max_size=5),
    min_size=1,
    max_size=6,
).map("/".join)
kinds = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)


def harmless(content: bytes) -> None:
    """Unpacks into a folder between others and looks that only it was touched, and that it leads nowhere else."""
    with TemporaryDirectory() as folder:
        outside = Path(folder).resolve()
        (outside / "witness").write_text("untouched")
        with suppress(SlipwayError):
            unpacked(content, outside / "into", limit=MIB)
        assert {path.name for path in outside.iterdir()} == {"witness", "into"}
        assert (outside / "witness").read_text() == "untouched"
        for path in (outside / "into").rglob("*"):
            # Not Path.resolve, which refuses links that go in circles: those lead nowhere at all.
            assert Path(os.path.realpath(path)).is_relative_to(outside / "into")
            assert path.is_symlink() or path.is_file() or path.is_dir()


@given(st.lists(st.tuples(names, kinds, names), min_size=1, max_size=6))
@example([("link", tarfile.SYMTYPE, ".."), ("link/escaped", tarfile.REGTYPE, "")])
@example([("circle", tarfile.SYMTYPE, "circle")])
@example([("long", tarfile.SYMTYPE, "x" * 300)])
@example([("p/q/d", tarfile.SYMTYPE, "../.."), ("x", tarfile.SYMTYPE, "p/q/d/../witness")])
@example([("a", tarfile.SYMTYPE, "b"), ("b", tarfile.SYMTYPE, "a")])
@example([("w", tarfile.LNKTYPE, "../witness"), ("w", tarfile.REGTYPE, "")])
def test_no_tar_file_leaves_its_folder(members: list[tuple[str, bytes, str]]) -> None:
    try:
        content = tar(*((entry(name, kind, link), b"overwritten") for name, kind, link in members))
    except (UnicodeEncodeError, ValueError):
        return
    harmless(content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(st.lists(st.tuples(names, st.sampled_from([0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO]), names), max_size=6))
@example([("link", stat.S_IFLNK, "../witness"), ("link", stat.S_IFREG, "")])
def test_no_zip_file_leaves_its_folder(members: list[tuple[str, int, str]]) -> None:
    try:
        content = zipped(*((name, target.encode(), kind | 0o644) for name, kind, target in members))
    except (UnicodeEncodeError, ValueError):
        return
    harmless(content)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00"]))
def test_what_is_no_archive_is_refused_whatever_it_is(content: bytes, magic: bytes) -> None:
    harmless(magic + content)


@given(st.data())
def test_a_damaged_archive_is_refused_or_harmless(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([PLAIN, gzip.compress(PLAIN), bz2.compress(PLAIN), zipped(("a", b"1" * 50, 0))]))
    place = data.draw(st.integers(0, len(whole) - 1))
    harmless(data.draw(st.sampled_from([whole[:place], whole[:place] + b"\xff" + whole[place + 1 :]])))


@pytest.mark.parametrize(
    ("member", "rule"),
    [
        (entry("../x"), "leaves its folder"),
        (entry("/x"), "not a relative path"),
        (entry("a", tarfile.LNKTYPE, "b"), "hard links are not taken"),
        (entry("a", tarfile.CHRTYPE), "devices and pipes are not taken"),
        (entry("a", tarfile.FIFOTYPE), "devices and pipes are not taken"),
        (entry("a", tarfile.SYMTYPE, "/etc/passwd"), "relative path inside"),
        (entry("a", tarfile.SYMTYPE, "../x"), "may not lead out"),
        (entry("/".join("abcdefghij" * 7)), "more than 64 folders deep"),
        (entry("x" * 300), "cannot be written"),
    ],
)
def test_the_refusal_names_the_member_and_the_rule(tmp_path: Path, member: tarfile.TarInfo, rule: str) -> None:
    with pytest.raises(Invalid, match=rule):
        unpacked(tar((member, b"")), tmp_path / "into")
    assert not any((tmp_path / "into").rglob("*")) or "cannot" in rule


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04rest", gzip.compress(b"no tar", mtime=0), PLAIN[:-9000][:700]]
)
def test_what_cannot_be_read_says_so(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Invalid, match="is not an archive that can be read"):
        unpacked(content, tmp_path / "into")


def test_an_encrypted_zip_file_says_so(tmp_path: Path) -> None:
    content = bytearray(zipped(("a", b"1", 0)))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(Invalid, match="encrypted"):
        unpacked(bytes(content), tmp_path / "into")


@pytest.mark.parametrize("pack", ["gz", "bz2", "xz", "zip"])
def test_a_bomb_ends_at_the_limit(tmp_path: Path, pack: str) -> None:
    zeros = bytes(20 * MIB)
    if pack == "zip":
        content = zipped(("zeros", zeros, 0))
    else:
        packer = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[pack]
        content = packer(tar((entry("zeros"), zeros)))
    assert len(content) < 100_000
    with pytest.raises(Invalid, match="unpacks to more than"):
        unpacked(content, tmp_path / "into", Limits(unpacked=MIB))
    assert sum(path.stat().st_size for path in (tmp_path / "into").rglob("*")) <= MIB


def test_an_archive_may_grow_a_hundred_times_and_no_more(tmp_path: Path) -> None:
    path, into = tmp_path / "bomb.tar.gz", tmp_path / "into"
    path.write_bytes(gzip.compress(tar((entry("zeros"), bytes(65 * MIB)))))
    into.mkdir()
    archives = Archives(local_paths=True, private=False, insecure=False, limits=Limits())
    source = ArchiveSource(str(path))
    with pytest.raises(Invalid, match=f"unpacks to more than {64 * MIB} bytes"):
        archives.extract(source, archives.resolve(source), into)


def test_members_are_counted(tmp_path: Path) -> None:
    members = [(entry(f"{number}/x"), b"") for number in range(6)]
    with pytest.raises(Invalid, match="more than 10 files"):
        unpacked(tar(*members), tmp_path / "into", Limits(files=10))


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    header = bytearray(entry("x", tarfile.XHDTYPE).tobuf())
    header[124:136] = b"%011o\0" % (4 * 1024**3)
    checksum = sum(header[:148]) + 8 * 32 + sum(header[156:])
    header[148:156] = struct.pack("8s", b"%06o\0 " % checksum)
    with pytest.raises(Invalid, match="is not an archive that can be read"):
        unpacked(bytes(header) + bytes(2048), tmp_path / "into", limit=8 * 1024**3)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="two members of one name"):
        unpacked(tar((entry("a"), b"1"), (entry("./a"), b"2")), tmp_path / "into")


def test_a_full_disk_is_temporary() -> None:
    """Issue 2, bad input. /dev/full stands for the disk."""
    with pytest.raises(Temporary, match="the disk is full"), explained("a"), Path("/dev/full").open("wb") as file:
        file.write(b"x")
