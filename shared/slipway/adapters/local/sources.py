"""The Sources port on one machine: git repositories and code artifacts.

What a submission may name is decided here, once: by default https and ssh to public addresses, nothing of this machine.
git and archives are imported when they are first used, since dulwich and httpx cost more than the rest of a step.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slipway.adapters.local.tree import Limits
from slipway.model import ArchiveSource, GitSource

if TYPE_CHECKING:
    from slipway.adapters.local.archive import Archives
    from slipway.adapters.local.git import Git
    from slipway.adapters.local.git_address import Address


class LocalSources:
    """Fetches code for a build.

    `local_paths`: paths of this machine and file:// are taken too. `private_addresses`: loopback, link-local and
    private addresses may be reached. `insecure_git`: git:// and http:// are taken too. `ssh` is the OpenSSH client.
    """

    def __init__(
        self,
        *,
        local_paths: bool = False,
        private_addresses: bool = False,
        insecure_git: bool = False,
        ssh: str = "ssh",
        limits: Limits | None = None,
    ) -> None:
        self._local_paths = local_paths
        self._private = private_addresses
        self._insecure = insecure_git
        self._ssh = ssh
        self._limits = limits or Limits()

    def check(self, source: GitSource | ArchiveSource) -> None:
        """See ports.Sources."""
        if isinstance(source, ArchiveSource):
            self._archives().check(source)
        else:
            self._address(source)

    def resolve(self, source: GitSource | ArchiveSource) -> str:
        """See ports.Sources. An archive over https is its `sha256`, unread; one on disk is read and hashed."""
        if isinstance(source, ArchiveSource):
            return self._archives().resolve(source)
        return self._git().resolve(self._address(source), source.version)

    def fetch(self, source: GitSource | ArchiveSource, revision: str, into: Path) -> None:
        """See ports.Sources."""
        if isinstance(source, ArchiveSource):
            self._archives().extract(source, revision, into)
        else:
            self._git().checkout(self._address(source), revision, into)

    def _address(self, source: GitSource) -> Address:
        from slipway.adapters.local import git_address

        return git_address.parse(source.uri, local_paths=self._local_paths, insecure=self._insecure)

    def _git(self) -> Git:
        from slipway.adapters.local.git import Git

        return Git(private=self._private, ssh=self._ssh, limits=self._limits)

    def _archives(self) -> Archives:
        from slipway.adapters.local.archive import Archives

        return Archives(
            local_paths=self._local_paths, private=self._private, insecure=self._insecure, limits=self._limits
        )
