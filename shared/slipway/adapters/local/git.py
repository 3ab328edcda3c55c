"""Git repositories: a branch, tag or commit becomes a full commit id, and a commit id becomes a tree of files.

No git binary is needed and no hook, filter or configuration of the repository is ever run: dulwich reads the objects,
and the files are written here. Submodules are refused, by name (they would be addresses that nobody checked); files
kept in Git LFS arrive as the pointers that are committed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dulwich.client import GitClient
from dulwich.errors import GitProtocolError, NotGitRepository
from dulwich.object_store import BaseObjectStore
from dulwich.objects import S_ISGITLINK, Blob, Commit, ObjectID, Tag
from dulwich.refs import Ref
from dulwich.repo import Repo

from slipway.adapters.local import git_clients, reach
from slipway.adapters.local.git_address import Address
from slipway.adapters.local.tree import Limits, Tree
from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Problem, SlipwayError, Temporary, nearest

_FULL = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT = re.compile(r"[0-9a-f]{7,63}")
_PEELED = "^{}"
_PREFIXES = ("HEAD", "refs/heads/", "refs/tags/")
_COMMITS_ONLY = b"tree:0"


class Git:
    """`private` allows addresses that are not public; `ssh` is the program for ssh addresses."""

    def __init__(self, *, private: bool, ssh: str, limits: Limits) -> None:
        self._private = private
        self._ssh = ssh
        self._limits = limits

    def resolve(self, address: Address, version: str | None) -> str:
        """The full id of the commit that `version` names now.

        None is the remote's HEAD, else `main`, else `master`. A name is looked for as a full reference
        (`refs/pull/7/head`), a branch, a tag (peeled to its commit), then as the first 7 or more digits of a commit. A
        full commit id is itself: `checkout` finds out whether the repository has it. Raises NotFound, naming the
        nearest reference.
        """
        if version is not None and _FULL.fullmatch(version.lower()):
            return version.lower()
        with _translated(address):
            refs = self._refs(address, version)
            for name in _candidates(version):
                if name in refs:
                    return refs[name]
            if not refs:
                raise NotFound(f"{address}: the repository has no commits yet")
            if version is not None and _SHORT.fullmatch(version.lower()):
                return self._lengthened(address, version.lower())
        names = {name.removeprefix("refs/heads/").removeprefix("refs/tags/") for name in refs} - {"HEAD"}
        wanted = "HEAD, 'main' or 'master'" if version is None else f"branch, tag or commit '{version}'"
        hint = nearest(version or "main", sorted(names)[:1000])
        raise NotFound(f"{address}: has no {wanted}. {hint if len(hint) < 500 else ''}".rstrip())

    def checkout(self, address: Address, revision: str, into: Path) -> None:
        """The files of commit `revision`, in the existing empty folder `into`. Raises NotFound when there is no such
        commit, Invalid when the tree is not one that can be written safely, or holds submodules."""
        with _translated(address), self._objects(address, revision) as store:
            self._write(store, _commit(store, revision, address).tree, into)

    def _refs(self, address: Address, version: str | None) -> Mapping[str, str]:
        """What the repository offers, each name with the commit (never the tag object) that it stands for."""
        if address.scheme == "file":
            with closing(Repo(address.path)) as repo:
                return {_text(name): _text(repo.get_peeled(name)) for name in repo.get_refs()}
        prefixes = [*_PREFIXES, version] if version is not None and version.startswith("refs/") else _PREFIXES
        with self._connected(address) as (client, path, _):
            found = client.get_refs(path, ref_prefix=[prefix.encode() for prefix in prefixes]).refs
        refs = {_text(name): _text(value) for name, value in found.items() if value is not None}
        return {name: refs.get(name + _PEELED, value) for name, value in refs.items() if not name.endswith(_PEELED)}

    def _lengthened(self, address: Address, short: str) -> str:
        with self._objects(address, None) as store:
            found = [_text(name) for name in store.iter_prefix(short.encode()) if isinstance(store[name], Commit)]
        if len(found) == 1:
            return found[0]
        if found:
            raise Invalid(Problem("version", f"{len(found)} commits start with it", short, "Give more of its digits"))
        raise NotFound(f"{address}: has no branch, tag or commit '{short}'")

    @contextmanager
    def _objects(self, address: Address, revision: str | None) -> Iterator[BaseObjectStore]:
        """A store with the commit `revision`, if the repository has it; for None all commits, perhaps without files."""
        if address.scheme == "file":
            with closing(Repo(address.path)) as repo:
                yield repo.object_store
            return
        with TemporaryDirectory(prefix="slipway-git-") as folder, closing(Repo.init_bare(folder)) as repo:
            if revision is None:
                self._fetch(address, repo, None, spec=_COMMITS_ONLY)
            else:
                self._fetch_commit(address, repo, revision)
            yield repo.object_store

    def _fetch_commit(self, address: Address, repo: Repo, revision: str) -> None:
        """The one commit, where the server gives out commits by their id; else all history."""
        try:
            self._fetch(address, repo, [ObjectID(revision.encode())], depth=1)
        except GitProtocolError as error:
            if isinstance(_explained(address, str(error)), Temporary | Forbidden):
                raise
            self._fetch(address, repo, None)

    def _fetch(
        self,
        address: Address,
        repo: Repo,
        wanted: Sequence[ObjectID] | None,
        depth: int | None = None,
        spec: bytes | None = None,
    ) -> None:
        """`wanted` None is every branch and tag."""

        def wants(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:
            return sorted(set(refs.values())) if wanted is None else list(wanted)

        with self._connected(address) as (client, path, deadline):
            file, commit, abort = repo.object_store.add_pack()
            try:
                client.fetch_pack(
                    path,
                    wants,
                    repo.get_graph_walker(),
                    self._counted(file.write, deadline),
                    depth=depth,
                    ref_prefix=[b"HEAD"] if wanted else [prefix.encode() for prefix in _PREFIXES],
                    filter_spec=spec,
                )
            except BaseException:
                abort()
                raise
            commit()

    def _counted(self, write: Callable[[bytes], int], deadline: reach.Deadline) -> Callable[[bytes], int]:
        total = 0

        def receive(data: bytes) -> int:
            nonlocal total
            total += len(data)
            if total > self._limits.download:
                raise Invalid(Problem("uri", f"the repository is more than {self._limits.download} bytes"))
            deadline.left()
            return write(data)

        return receive

    @contextmanager
    def _connected(self, address: Address) -> Iterator[tuple[GitClient, bytes, reach.Deadline]]:
        deadline = reach.Deadline(self._limits.seconds)
        client, path = git_clients.connect(address, private=self._private, deadline=deadline, ssh=self._ssh)
        with closing(client):
            yield client, path, deadline

    def _write(self, store: BaseObjectStore, tree: ObjectID, into: Path) -> None:
        entries = list(store.iter_tree_contents(tree))
        submodules = sorted(os.fsdecode(entry.path) for entry in entries if S_ISGITLINK(entry.mode))
        if submodules:
            fix = "Put their files into the repository itself, or submit an archive or an image"
            raise Invalid(Problem("uri", "has submodules, which are not fetched", ", ".join(submodules), fix))
        target = Tree(into, self._limits)
        for entry in entries:
            name = os.fsdecode(entry.path)
            if any(part.rstrip(". ").lower() in (".git", "git~1") for part in name.split("/")):
                raise Invalid(Problem("uri", "holds a file inside a '.git' folder", name))
            blob = store[entry.sha]
            if not isinstance(blob, Blob):
                raise Invalid(Problem("uri", "holds an entry that is no file", name))
            if stat.S_ISLNK(entry.mode):
                target.link(name, os.fsdecode(blob.data))
            else:
                target.file(name, blob.chunked, executable=bool(entry.mode & 0o111))
        target.finish()


def _candidates(version: str | None) -> tuple[str, ...]:
    if version is None:
        return ("HEAD", "refs/heads/main", "refs/heads/master")
    return (version, f"refs/heads/{version}", f"refs/tags/{version}")


def _commit(store: BaseObjectStore, revision: str, address: Address) -> Commit:
    name = ObjectID(revision.encode())
    if name not in store:
        raise NotFound(f"{address}: has no commit {revision}")
    found = store[name]
    while isinstance(found, Tag):
        found = store[found.object[1]]
    if not isinstance(found, Commit):
        raise Invalid(Problem("version", "names something that is not a commit", revision))
    return found


@contextmanager
def _translated(address: Address) -> Iterator[None]:
    """dulwich's exceptions become Slipway's, the server's words kept."""
    try:
        yield
    except SlipwayError:
        raise
    except NotGitRepository as error:
        raise NotFound(f"{address}: there is no git repository") from error
    except GitProtocolError as error:
        words = str(error)
        raise _explained(address, words) or Temporary(f"{address}: the server ended the talk: {words}") from error
    except PermissionError as error:
        raise Forbidden(f"{address}: may not be read: {error}") from error
    except OSError as error:
        raise Temporary(f"{address}: could not be fetched: {error}") from error
    except Exception as error:  # what dulwich raises for bytes that are no git objects has no common class
        raise Permanent(f"{address}: cannot be read as a git repository: {type(error).__name__}: {error}") from error


_WORDS: tuple[tuple[str, type[SlipwayError], str], ...] = (
    ("host key verification failed", Forbidden, "its key is unknown here; check it and add it to ~/.ssh/known_hosts"),
    ("permission denied", Forbidden, "ssh is refused; give this machine a key that may read it"),
    ("could not resolve hostname", Temporary, "the host cannot be resolved"),
    ("connection refused", Temporary, "nothing answers there"),
    ("timed out", Temporary, "no answer in time"),
    ("network is unreachable", Temporary, "the network is unreachable"),
    ("access denied", Forbidden, "the server refuses access, or has no such repository"),
    ("not exported", Forbidden, "the server refuses access, or has no such repository"),
    ("not our ref", NotFound, "the repository has no such commit"),
    ("does not appear to be a git repository", NotFound, "there is no git repository"),
    ("repository not found", NotFound, "there is no git repository, or it is hidden"),
    ("no such file or directory", NotFound, "there is no git repository"),
    ("not a git repository", NotFound, "there is no git repository"),
)
"""What ssh and git servers say; they have no codes."""


def _explained(address: Address, words: str) -> SlipwayError | None:
    lower = words.lower()
    for sign, kind, meaning in _WORDS:
        if sign in lower:
            return kind(f"{address}: {meaning}: {words}")
    return None


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
