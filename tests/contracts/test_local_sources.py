"""The sources of one machine: git over each way to reach it, archives over theirs, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from dulwich import porcelain
from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo
from tests import services
from tests.contracts.sources_contract import FILES, GitContract, History, ModesContract, SourcesContract, tree
from tests.git_over_http import GitOverHttp

from slipway.adapters.local.sources import LocalSources
from slipway.adapters.local.tree import Limits
from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Temporary
from slipway.model import ArchiveSource, GitSource
from slipway.ports import Sources

OPEN = {"local_paths": True, "private_addresses": True, "insecure_git": True}


def fill(folder: Path) -> None:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "run.sh").chmod(0o755)
    (folder / "data" / "link").symlink_to("../train.py")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    path = tmp_path_factory.mktemp("repositories") / "job.git"
    path.mkdir()
    with porcelain.init(path) as repo:
        repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")

        def commit(message: str) -> str:
            porcelain.add(
                repo, [str(name) for name in path.rglob("*") if ".git" not in name.parts and not name.is_dir()]
            )
            who = b"Test <test@example.org>"
            return porcelain.commit(repo, message=message.encode(), author=who, committer=who, sign=False).decode()

        (path / "train.py").write_text("first\n")
        first = commit("first")
        (path / "train.py").write_text("second\n")
        second = commit("second")
        fill(path)
        third = commit("third")
        porcelain.branch_create(repo, "old", first)
        porcelain.branch_create(repo, "team/feature-\u00e9", first)
        porcelain.tag_create(
            repo, "v1", author=b"T <t@example.org>", message=b"v1", annotated=True, objectish=first, sign=False
        )
        porcelain.tag_create(repo, "light", objectish=first, sign=False)
    return History(path, first, second, third)


@pytest.fixture(scope="module")
def daemon(history: History, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, base = services.free_port(), history.path.parent
    listen = ("--listen=127.0.0.1", f"--port={port}", "--reuseaddr")
    command = (services.program("git"), "daemon", *listen, "--export-all", f"--base-path={base}", base)
    with services.running(*command, port=port, log=tmp_path_factory.mktemp("daemon") / "log"):
        yield f"git://127.0.0.1:{port}"


@pytest.fixture
def http(history: History) -> Iterator[GitOverHttp]:
    services.program("git")
    application = GitOverHttp(history.path.parent)
    with services.web(application) as host:
        application.host = host
        yield application


@pytest.fixture
def ssh(tmp_path: Path) -> Path:
    """A stand-in for ssh: notes its arguments, then runs the command here, as the other side would."""
    services.program("git-upload-pack")
    script = tmp_path / "ssh"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/arguments\nfor last; do :; done\nexec sh -c "$last"\n'
    )
    script.chmod(0o755)
    return script


def failing_ssh(folder: Path, words: str) -> str:
    script = folder / "ssh"
    script.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 255\n")
    script.chmod(0o755)
    return str(script)


class TestGitByPath(GitContract):
    @pytest.fixture
    def sources(self) -> Sources:
        return LocalSources(local_paths=True)

    @pytest.fixture
    def source(self, history: History) -> GitSource:
        return GitSource(str(history.path))


class TestGitByFileAddress(TestGitByPath):
    @pytest.fixture
    def source(self, history: History) -> GitSource:
        return GitSource(history.path.as_uri())


class TestGitOverDaemon(GitContract):
    @pytest.fixture
    def sources(self) -> Sources:
        return LocalSources(private_addresses=True, insecure_git=True)

    @pytest.fixture
    def source(self, daemon: str) -> GitSource:
        return GitSource(f"{daemon}/job.git")


class TestGitOverHttp(GitContract):
    @pytest.fixture
    def sources(self) -> Sources:
        return LocalSources(private_addresses=True, insecure_git=True)

    @pytest.fixture
    def source(self, http: GitOverHttp) -> GitSource:
        return GitSource(f"http://{http.host}/job.git")


class TestGitOverSsh(GitContract):
    """The stand-in passes no protocol version on, so this is git's oldest protocol, without fetches by commit."""

    @pytest.fixture
    def sources(self, ssh: Path) -> Sources:
        return LocalSources(private_addresses=True, ssh=str(ssh))

    @pytest.fixture
    def source(self, history: History) -> GitSource:
        return GitSource(f"git@127.0.0.1:{history.path}")


class ArchiveFixtures:
    @pytest.fixture
    def archive(self, tmp_path: Path) -> Path:
        folder = tmp_path / "job"
        folder.mkdir()
        fill(folder)
        path = tmp_path / "job.tar.gz"
        with tarfile.open(path, "w:gz") as file:
            file.add(folder, ".")
        return path

    @pytest.fixture
    def digest(self, archive: Path) -> str:
        return hashlib.sha256(archive.read_bytes()).hexdigest()


class TestArchiveByPath(ArchiveFixtures, SourcesContract, ModesContract):
    @pytest.fixture
    def sources(self) -> Sources:
        return LocalSources(local_paths=True)

    @pytest.fixture
    def source(self, archive: Path) -> ArchiveSource:
        return ArchiveSource(str(archive))

    @pytest.fixture
    def missing(self, tmp_path: Path) -> ArchiveSource:
        return ArchiveSource(str(tmp_path / "nothing.zip"))

    def test_its_revision_is_its_digest(self, sources: Sources, source: ArchiveSource, digest: str) -> None:
        assert sources.resolve(source) == digest

    def test_another_digest_is_refused_with_both(self, sources: Sources, archive: Path, digest: str) -> None:
        with pytest.raises(Permanent, match=f"{digest}, not {'0' * 64}"):
            sources.resolve(ArchiveSource(str(archive), "0" * 64))

    def test_a_file_that_changed_since_is_refused(
        self, sources: Sources, source: ArchiveSource, archive: Path, digest: str, into: Path
    ) -> None:
        archive.write_bytes(b"something else")
        with pytest.raises(Permanent, match=digest):
            sources.fetch(source, digest, into)


class TestArchiveOverHttp(ArchiveFixtures, SourcesContract, ModesContract):
    """Plain http, as the operator of a test may allow it; https differs in TLS alone."""

    @pytest.fixture
    def host(self, archive: Path) -> Iterator[str]:
        def serve(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
            path = archive.parent / unquote(environ["PATH_INFO"]).lstrip("/")
            if path.name == "moved":
                start("302 Found", [("Location", "/job.tar.gz")])
                return [b""]
            if path.name == "secret":
                start("403 Forbidden", [])
                return [b""]
            if not path.is_file():
                start("404 Not Found", [])
                return [b""]
            start("200 OK", [("Content-Type", "application/gzip"), ("Content-Encoding", "gzip")])
            return [path.read_bytes()]

        with services.web(serve) as host:
            yield host

    @pytest.fixture
    def sources(self) -> Sources:
        return LocalSources(private_addresses=True, insecure_git=True)

    @pytest.fixture
    def source(self, host: str, digest: str) -> ArchiveSource:
        return ArchiveSource(f"http://{host}/job.tar.gz", digest)

    @pytest.fixture
    def missing(self, host: str, digest: str) -> ArchiveSource:
        return ArchiveSource(f"http://{host}/nothing.zip#sha256={digest.upper()}")

    def test_redirects_are_followed(self, sources: Sources, host: str, digest: str, into: Path) -> None:
        sources.fetch(ArchiveSource(f"http://{host}/moved", digest), digest, into)
        assert (into / "train.py").read_text() == FILES["train.py"]

    def test_without_a_digest_it_is_refused(self, sources: Sources, host: str) -> None:
        with pytest.raises(Invalid, match="sha256: is required"):
            sources.resolve(ArchiveSource(f"http://{host}/job.tar.gz"))

    def test_other_content_is_refused_with_both_digests(
        self, sources: Sources, source: ArchiveSource, digest: str, into: Path
    ) -> None:
        with pytest.raises(Permanent, match=f"{digest}, not {'0' * 64}"):
            sources.fetch(source, "0" * 64, into)

    def test_a_download_ends_at_the_limit(self, source: ArchiveSource, digest: str, into: Path) -> None:
        sources = LocalSources(private_addresses=True, insecure_git=True, limits=Limits(download=100))
        with pytest.raises(Invalid, match="more than 100 bytes"):
            sources.fetch(source, digest, into)

    def test_what_is_secret_in_an_address_is_in_no_error(self, sources: Sources, host: str, into: Path) -> None:
        with pytest.raises(Forbidden) as raised:
            sources.fetch(ArchiveSource(f"http://{host}/secret?sig=s3cret", "0" * 64), "0" * 64, into)
        assert "s3cret" not in str(raised.value)


# --- what goes wrong


@pytest.mark.parametrize(
    ("mood", "kind", "words"),
    [
        ("locked", Forbidden, "git-credentials"),
        ("forbidden", Forbidden, "git-credentials"),
        ("hidden", NotFound, "hides it"),
        ("busy", Temporary, "503"),
        ("page", Permanent, "no git server"),
        ("loop", Permanent, "redirects"),
    ],
)
def test_what_a_server_refuses_has_a_reason_and_a_cure(
    http: GitOverHttp, mood: str, kind: type[Exception], words: str
) -> None:
    """Issue 2, bad input: a repository that is forbidden is permanent."""
    with pytest.raises(kind, match=words) as raised:
        LocalSources(**OPEN).resolve(GitSource(f"http://{http.host}/{mood}/job.git", "main"))
    assert type(raised.value) is kind
    if isinstance(raised.value, Temporary):
        assert raised.value.retry_after == 7.0


def test_a_repository_that_moved_is_followed(http: GitOverHttp, history: History, into: Path) -> None:
    source = GitSource(f"http://{http.host}/moved/job.git")
    assert LocalSources(**OPEN).resolve(source) == history.third
    LocalSources(**OPEN).fetch(source, history.second, into)
    assert tree(into) == {"train.py": "second\n"}


def test_the_credential_store_opens_a_locked_repository(
    http: GitOverHttp, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.login = "Basic dXNlcjpzM2NyZXQ="  # user:s3cret
    monkeypatch.setenv("HOME", str(tmp_path))
    source = GitSource(f"http://{http.host}/job.git", "main")
    with pytest.raises(Forbidden):
        LocalSources(**OPEN).resolve(source)
    (tmp_path / ".git-credentials").write_text("http://user:s3cret@127.0.0.1\n")
    assert LocalSources(**OPEN).resolve(source) == history.third


@pytest.mark.parametrize("scheme", ["http", "git", "ssh"])
def test_a_repository_that_cannot_be_reached_is_temporary(scheme: str) -> None:
    """Issue 2, bad input."""
    if scheme == "ssh":
        services.program("ssh")
    with pytest.raises(Temporary):
        LocalSources(**OPEN).resolve(GitSource(f"{scheme}://127.0.0.1:{services.free_port()}/job.git"))


@pytest.mark.parametrize("uri", ["https://nowhere.invalid/job.git", "git://nowhere.invalid/job.git"])
def test_a_host_that_does_not_resolve_is_temporary(uri: str) -> None:
    with pytest.raises(Temporary, match=r"nowhere\.invalid"):
        LocalSources(insecure_git=True).resolve(GitSource(uri))


@pytest.mark.parametrize("scheme", ["http", "git"])
def test_a_server_that_says_nothing_is_given_up_in_time(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/job.git"
        with pytest.raises(Temporary):
            LocalSources(**OPEN, limits=Limits(seconds=0.2)).resolve(GitSource(uri))


def test_a_repository_the_daemon_does_not_give_out_is_forbidden(daemon: str) -> None:
    with pytest.raises(Forbidden, match="not exported"):
        LocalSources(**OPEN).resolve(GitSource(f"{daemon}/other.git"))


@pytest.mark.parametrize(
    ("words", "kind", "cure"),
    [
        ("git@host: Permission denied (publickey).", Forbidden, "give this machine a key"),
        ("Host key verification failed.", Forbidden, "known_hosts"),
        ("ssh: Could not resolve hostname host: Name or service not known", Temporary, "cannot be resolved"),
        ("ssh: connect to host h port 22: Connection timed out", Temporary, "no answer in time"),
        ("ERROR: Repository not found.", NotFound, "no git repository"),
        ("something new", Temporary, "something new"),
    ],
)
def test_what_ssh_says_is_understood(tmp_path: Path, words: str, kind: type[Exception], cure: str) -> None:
    sources = LocalSources(private_addresses=True, ssh=failing_ssh(tmp_path, words))
    with pytest.raises(kind, match=cure) as raised:
        sources.resolve(GitSource("git@127.0.0.1:a/b.git"))
    assert type(raised.value) is kind


def test_ssh_never_asks_and_knows_its_host(ssh: Path, history: History) -> None:
    LocalSources(private_addresses=True, ssh=str(ssh)).resolve(GitSource(f"ssh://git@127.0.0.1:2222{history.path}"))
    arguments = (ssh.parent / "arguments").read_text().splitlines()
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "2222"} <= set(arguments)
    assert arguments[-3:] == ["--", "127.0.0.1", f"git-upload-pack '{history.path}'"]


def test_ssh_goes_to_the_address_that_was_checked(ssh: Path) -> None:
    with pytest.raises((Temporary, NotFound)):
        LocalSources(ssh=str(ssh)).resolve(GitSource("git@1.1.1.1:/no/such/repository"))
    arguments = (ssh.parent / "arguments").read_text().splitlines()
    assert {"HostName=1.1.1.1", "HostKeyAlias=1.1.1.1"} <= set(arguments)


def test_a_missing_ssh_says_what_to_install() -> None:
    with pytest.raises(Permanent, match="OpenSSH"):
        LocalSources(private_addresses=True, ssh="no-such-ssh").resolve(GitSource("git@127.0.0.1:a/b.git"))


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9/x", "git://localhost/x", "git@127.1:x", "https://169.254.169.254/x"]
)
def test_no_submission_reaches_a_private_address(uri: str) -> None:
    """Design 7."""
    with pytest.raises(Forbidden, match="not a public address"):
        LocalSources(insecure_git=True).resolve(GitSource(uri))


def test_no_archive_is_read_from_a_private_address(into: Path) -> None:
    with pytest.raises(Forbidden, match="not a public address"):
        LocalSources().fetch(ArchiveSource("https://10.0.0.1/x.tar", "0" * 64), "0" * 64, into)


@pytest.mark.parametrize(
    "uri", ["/etc/hosts", "file:///etc/hosts", "job.zip", "ftp://host/job.zip", "http://host/job.zip"]
)
def test_an_archive_from_elsewhere_is_refused(uri: str) -> None:
    with pytest.raises(Invalid, match="uri: "):
        LocalSources().resolve(ArchiveSource(uri, "0" * 64))


@pytest.mark.parametrize("uri", ["file:///a%00b", "job.zip", "file://host/job.zip"])
def test_the_path_of_an_archive_is_absolute(uri: str) -> None:
    with pytest.raises(Invalid, match="must be absolute"):
        LocalSources(local_paths=True).resolve(ArchiveSource(uri))


@pytest.mark.parametrize("digest", ["abc", "z" * 64, "0" * 63])
def test_a_digest_is_64_hexadecimal_digits(digest: str) -> None:
    with pytest.raises(Invalid, match="sha256: must be 64"):
        LocalSources().resolve(ArchiveSource("https://host/job.zip", digest))


def test_a_path_without_a_repository_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no git repository"):
        LocalSources(local_paths=True).resolve(GitSource(str(tmp_path)))


def test_a_repository_without_commits_is_not_found(tmp_path: Path) -> None:
    porcelain.init(tmp_path).close()
    with pytest.raises(NotFound, match="no commits yet"):
        LocalSources(local_paths=True).resolve(GitSource(str(tmp_path)))


def test_a_damaged_repository_is_permanent(history: History, tmp_path: Path, into: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(history.path, copy, symlinks=True)
    damaged = copy / ".git" / "objects" / history.third[:2] / history.third[2:]
    damaged.chmod(0o644)
    damaged.write_bytes(b"not an object")
    with pytest.raises(Permanent, match="cannot be read as a git repository"):
        LocalSources(local_paths=True).fetch(GitSource(str(copy)), history.third, into)


def test_a_fetch_ends_at_the_limit(daemon: str, history: History, into: Path) -> None:
    with pytest.raises(Invalid, match="more than 100 bytes"):
        LocalSources(**OPEN, limits=Limits(download=100)).fetch(GitSource(f"{daemon}/job.git"), history.third, into)


# --- trees that nobody made with git


def hostile(folder: Path, *entries: tuple[bytes, int, bytes]) -> tuple[GitSource, str]:
    """A repository whose one commit holds these (name, mode, content)."""
    with Repo.init_bare(folder, mkdir=True) as repo:
        tree_object = Tree()
        for name, mode, content in entries:
            blob = Blob.from_string(content)
            repo.object_store.add_object(blob)
            tree_object.add(name, mode, blob.id)
        commit = Commit()
        commit.tree = tree_object.id
        commit.author = commit.committer = b"T <t@example.org>"
        commit.author_time = commit.commit_time = 0
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"hostile"
        repo.object_store.add_object(tree_object)
        repo.object_store.add_object(commit)
        return GitSource(str(folder)), commit.id.decode()


@pytest.mark.parametrize(
    ("name", "mode", "content", "rule"),
    [
        (b"..", 0o100644, b"x", "leaves its folder"),
        (b"/x", 0o100644, b"x", "not a relative path"),
        (b"a\\b", 0o100644, b"x", "not a relative path"),
        (b".git", 0o100644, b"x", "inside a '.git' folder"),
        (b".GiT ", 0o100644, b"x", "inside a '.git' folder"),
        (b"link", 0o120000, b"/etc/passwd", "relative path inside"),
        (b"link", 0o120000, b"../../etc/passwd", "may not lead out"),
        (b"link", 0o120000, b"", "relative path inside"),
        (b"vendor", 0o160000, b"x", "submodules"),
    ],
)
def test_a_hostile_tree_is_refused(
    tmp_path: Path, into: Path, name: bytes, mode: int, content: bytes, rule: str
) -> None:
    source, revision = hostile(tmp_path / "hostile.git", (name, mode, content))
    with pytest.raises(Invalid, match=rule):
        LocalSources(local_paths=True).fetch(source, revision, into)
    assert list(into.iterdir()) == []
