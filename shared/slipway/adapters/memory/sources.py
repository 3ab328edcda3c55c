"""Repositories and archives in a dict: uri → version → files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from slipway.errors import NotFound, nearest
from slipway.model import ArchiveSource, GitSource

Tree = Mapping[str, str]
"""Relative path → text."""


class MemorySources:
    """`trees` holds, per uri, the tree of each version. The revision of a tree is the SHA-1 of its files."""

    def __init__(self, trees: Mapping[str, Mapping[str, Tree]] | None = None) -> None:
        self.trees: dict[str, dict[str, Tree]] = {uri: dict(versions) for uri, versions in (trees or {}).items()}

    def check(self, source: GitSource | ArchiveSource) -> None:
        """Every kind of address is taken."""

    def resolve(self, source: GitSource | ArchiveSource) -> str:
        return _revision(self._tree(source))

    def fetch(self, source: GitSource | ArchiveSource, revision: str, into: Path) -> None:
        versions = self._versions(source)
        tree = next((each for each in versions.values() if _revision(each) == revision), None)
        if tree is None:
            raise NotFound(f"{source.uri} has no revision {revision}")
        for name, text in tree.items():
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _tree(self, source: GitSource | ArchiveSource) -> Tree:
        versions = self._versions(source)
        version = (source.version if isinstance(source, GitSource) else None) or "main"
        if version not in versions:
            raise NotFound(f"{source.uri} has no '{version}'. {nearest(version, versions)}")
        return versions[version]

    def _versions(self, source: GitSource | ArchiveSource) -> dict[str, Tree]:
        if source.uri not in self.trees:
            raise NotFound(f"there is nothing at {source.uri}")
        return self.trees[source.uri]


def _revision(tree: Tree) -> str:
    return hashlib.sha1(json.dumps(dict(tree), sort_keys=True).encode(), usedforsecurity=False).hexdigest()
