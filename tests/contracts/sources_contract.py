"""What every source of code does. A binding is a subclass with the fixtures below."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from slipway.errors import Invalid, NotFound
from slipway.model import ArchiveSource, GitSource
from slipway.ports import Sources

FILES = {"train.py": "print('hello')\n", "data/donn\u00e9es.txt": "\u00e9t\u00e9\n", "run.sh": "#!/bin/sh\n"}
LINKS = {"data/link": "-> ../train.py"}
"""What a source holds. `run.sh` can be executed."""


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with its text, a link as `-> target`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_text()
    return found


class SourcesContract:
    """The sources port, for any kind of source. `links` is empty for one that holds plain files only."""

    links: Mapping[str, str] = LINKS

    @pytest.fixture
    def sources(self) -> Sources:
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def source(self) -> GitSource | ArchiveSource:
        """One that holds FILES and LINKS."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def missing(self) -> GitSource | ArchiveSource:
        """One that is not there."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def into(self, tmp_path: Path) -> Path:
        folder = tmp_path / "into"
        folder.mkdir()
        return folder

    def test_resolving_twice_gives_one_revision(self, sources: Sources, source: GitSource | ArchiveSource) -> None:
        """S11: the image is named after what the source is, so that must not depend on when one asks."""
        revision = sources.resolve(source)
        assert revision == sources.resolve(source)
        assert set(revision) <= set("0123456789abcdef")
        assert len(revision) in (40, 64)

    def test_a_revision_brings_its_files_and_nothing_else(
        self, sources: Sources, source: GitSource | ArchiveSource, into: Path
    ) -> None:
        """S20."""
        sources.fetch(source, sources.resolve(source), into)
        assert tree(into) == FILES | self.links

    def test_a_source_that_is_not_there_is_not_found(
        self, sources: Sources, missing: GitSource | ArchiveSource, into: Path
    ) -> None:
        with pytest.raises(NotFound):
            sources.fetch(missing, sources.resolve(missing), into)


class ModesContract:
    """What sources that come from a real disk do besides."""

    def test_of_the_modes_the_executable_bit_is_kept(
        self, sources: Sources, source: GitSource | ArchiveSource, into: Path
    ) -> None:
        sources.fetch(source, sources.resolve(source), into)
        modes = {name: stat.S_IMODE((into / name).stat().st_mode) for name in ("run.sh", "train.py", "data")}
        assert modes == {"run.sh": 0o755, "train.py": 0o644, "data": 0o755}


@dataclass(frozen=True)
class History:
    """A repository: three commits on `main`, of which the last holds FILES; the first is tagged and has branches."""

    path: Path
    first: str
    second: str
    third: str


class GitContract(SourcesContract, ModesContract):
    """Git repositories, however they are reached. `history` is a fixture of the module that binds it."""

    @pytest.fixture
    def source(self) -> GitSource:
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def missing(self, source: GitSource) -> GitSource:
        return replace(source, version="0" * 40)

    @pytest.mark.parametrize(
        ("version", "commit"),
        [
            (None, "third"),
            ("main", "third"),
            ("HEAD", "third"),
            ("refs/heads/main", "third"),
            ("old", "first"),
            ("team/feature-\u00e9", "first"),
            ("v1", "first"),
            ("light", "first"),
            ("refs/tags/v1", "first"),
        ],
    )
    def test_a_name_becomes_the_commit_it_stands_for(
        self, sources: Sources, source: GitSource, history: History, version: str | None, commit: str
    ) -> None:
        assert sources.resolve(replace(source, version=version)) == getattr(history, commit)

    @pytest.mark.parametrize("commit", ["first", "second", "third"])
    def test_a_commit_may_be_written_in_full_or_short(
        self, sources: Sources, source: GitSource, history: History, commit: str
    ) -> None:
        full = getattr(history, commit)
        assert sources.resolve(replace(source, version=full)) == full
        assert sources.resolve(replace(source, version=full.upper())) == full
        assert sources.resolve(replace(source, version=full[:8])) == full

    def test_a_commit_that_no_branch_ends_in_can_be_fetched(
        self, sources: Sources, source: GitSource, history: History, into: Path
    ) -> None:
        sources.fetch(source, history.second, into)
        assert tree(into) == {"train.py": "second\n"}

    def test_an_unknown_ref_is_not_found_and_the_nearest_one_named(self, sources: Sources, source: GitSource) -> None:
        """Issue 2, bad input: a git ref that does not exist."""
        with pytest.raises(NotFound, match=r"'mian'.*Did you mean 'main'\?"):
            sources.resolve(replace(source, version="mian"))

    @pytest.mark.parametrize("version", ["0000000", "abcdef0123", "a branch", "-x", "..", "main\0", "\n", "ref\u00e9"])
    def test_no_version_is_more_than_not_found(self, sources: Sources, source: GitSource, version: str) -> None:
        with pytest.raises((NotFound, Invalid)):
            sources.resolve(replace(source, version=version))
