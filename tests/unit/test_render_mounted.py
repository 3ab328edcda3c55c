"""Mounted code: the init container's script, run by a real shell, leaves exactly the revision or fails."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services import program, web
from tests.unit.launches import launched

from slipway.model import ArchiveSource, Code, GitSource, Job
from slipway.render.kubernetes import manifest
from slipway.render.mounted import DEFAULT_BASE_IMAGE, FOLDER, base_image
from slipway.render.surroundings import Cluster

FILES = {"train.py": "print('hello')\n", "conf/lr 1.yaml": "lr: 1\n"}


def script_of(code: Code, place: Path) -> list[str]:
    """The command of the init container, its places moved to a folder of the test."""
    body = manifest(launched(code=code), Cluster())
    (init,) = body["spec"]["template"]["spec"]["initContainers"]
    return [word.replace(FOLDER, f"{place}/code").replace("/tmp/code", f"{place}/download") for word in init["command"]]


def fetched(code: Code, place: Path) -> subprocess.CompletedProcess[str]:
    (place / "code").mkdir(exist_ok=True)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(place)}
    return subprocess.run(script_of(code, place), env=environment, capture_output=True, text=True, timeout=60)


def files(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts)
    return {str(path.relative_to(folder)): path.read_text() for path in found}


# --- git


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, list[str]]:
    """A repository with two commits, and their ids."""
    git, folder = program("git"), tmp_path / "a repository"
    folder.mkdir()

    def run(*words: str) -> str:
        name = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        done = subprocess.run([git, *name, *words], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    run("init", "-q", ".")
    commits = []
    for files in ({"old.py": "1\n"}, FILES):
        for path in folder.iterdir():
            if path.name != ".git":
                path.unlink()
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        run("add", "-A")
        run("commit", "-q", "-m", "x")
        commits.append(run("rev-parse", "HEAD"))
    return folder, commits


@pytest.mark.parametrize("number", [0, 1])
def test_a_repository_is_left_at_exactly_its_revision(
    repository: tuple[Path, list[str]], tmp_path: Path, number: int
) -> None:
    """S20."""
    folder, commits = repository
    code = Code(GitSource(str(folder)), commits[number])
    for _ in range(2):  # a volume may outlive a pod
        done = fetched(code, tmp_path)
        assert done.returncode == 0, done.stderr
        assert files(tmp_path / "code") == [{"old.py": "1\n"}, FILES][number]
    head = subprocess.run(
        [program("git"), "rev-parse", "HEAD"], cwd=tmp_path / "code", capture_output=True, text=True, check=True
    )
    assert head.stdout.strip() == commits[number]


def test_a_commit_that_is_not_there_fails(repository: tuple[Path, list[str]], tmp_path: Path) -> None:
    done = fetched(Code(GitSource(str(repository[0])), "ab" * 20), tmp_path)
    assert done.returncode != 0
    assert files(tmp_path / "code") == {}


def test_a_repository_that_is_not_there_fails(tmp_path: Path) -> None:
    assert fetched(Code(GitSource(str(tmp_path / "none")), "ab" * 20), tmp_path).returncode != 0


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_no_uri_is_read_as_shell(text: str) -> None:
    """The words that a shell makes of the script hold the uri as one of them."""
    import shlex

    for code in (Code(GitSource(text), "ab" * 20), Code(ArchiveSource(text), "ab" * 32)):
        words = shlex.split(script_of(code, Path("/place"))[-1], posix=True)
        moved = text.replace(FOLDER, "/place/code").replace("/tmp/code", "/place/download")
        assert any(word.rstrip(";") == moved.rstrip(";") for word in words)


# --- archives


def packed(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, text in FILES.items():
                archive.writestr(name, text)
    else:
        with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
            for name, text in FILES.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text), 0o644
                archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server, and what it serves by path."""
    served: dict[str, bytes] = {}

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        body = served.get(environ["PATH_INFO"])
        start("404 Not Found" if body is None else "200 OK", [("Content-Length", str(len(body or b"")))])
        return [body or b""]

    program("wget")
    with web(application) as address:
        yield f"http://{address}", served


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/code.tar", ""), ("/code.tar.gz", "gz"), ("/code.tar.xz", "xz"), ("/code.zip", "zip"), ("/code.zip?t=1", "zip")],
)
def test_an_archive_is_left_unpacked(
    server: tuple[str, dict[str, bytes]], tmp_path: Path, path: str, kind: str
) -> None:
    """S20."""
    if kind == "zip":
        program("unzip")
    address, served = server
    served[path.partition("?")[0]] = packed(kind)
    digest = hashlib.sha256(packed(kind)).hexdigest()
    for _ in range(2):
        done = fetched(Code(ArchiveSource(address + path, digest), digest), tmp_path)
        assert done.returncode == 0, done.stderr
        assert files(tmp_path / "code") == FILES


def test_an_archive_with_another_digest_is_not_unpacked(server: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    address, served = server
    served["/code.tgz"] = packed("gz")
    done = fetched(Code(ArchiveSource(f"{address}/code.tgz"), "ab" * 32), tmp_path)
    assert done.returncode != 0
    assert files(tmp_path / "code") == {}


def test_an_archive_that_is_not_there_fails(server: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    assert fetched(Code(ArchiveSource(f"{server[0]}/none.tgz"), "ab" * 32), tmp_path).returncode != 0


# --- what runs in it


def installing(folder: Path, *args: str) -> list[str]:
    """The command of a container that installs first, in a folder of the test."""
    code = Code(GitSource("https://h.example/x.git"), "ab" * 20, install=True)
    body = manifest(launched(code=code, entry_point=("printf", "%s|"), args=args), Cluster())
    one = body["spec"]["template"]["spec"]["containers"][0]
    return [word.replace(FOLDER, str(folder)) for word in (*one["command"], *one["args"])]


@pytest.mark.parametrize(
    ("present", "installed"),
    [
        (("requirements.txt", "pyproject.toml", "requirements.frozen.txt"), "install -r {}/requirements.txt"),
        (("pyproject.toml", "requirements.frozen.txt"), "install {}"),
        (("requirements.frozen.txt",), "install -r {}/requirements.frozen.txt"),
        ((), None),
    ],
)
def test_the_first_file_of_dependencies_is_installed_and_the_command_gets_its_words(
    tmp_path: Path, present: tuple[str, ...], installed: str | None
) -> None:
    tools, folder = tmp_path / "bin", tmp_path / "code"
    tools.mkdir()
    folder.mkdir()
    (tools / "pip").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/pip\n')
    (tools / "pip").chmod(0o755)
    for name in present:
        (folder / name).write_text("")
    words = ("--name", "a b", "$HOME", "it's; exit 1")
    done = subprocess.run(
        installing(folder, *words), env={"PATH": f"{tools}:/usr/bin:/bin"}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rpartition("\n")[2] == "".join(f"{word}|" for word in words)
    if installed is None:
        assert "No requirements file found" in done.stdout
        assert not (tmp_path / "pip").exists()
    else:
        assert (tmp_path / "pip").read_text().strip() == installed.format(folder)


def test_a_failed_installation_fails_the_run(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    shutil.copy(program("false"), tools / "pip")
    (tmp_path / "requirements.txt").write_text("")
    done = subprocess.run(installing(tmp_path), env={"PATH": f"{tools}:/usr/bin:/bin"}, capture_output=True, timeout=30)
    assert done.returncode != 0
    assert done.stdout == b""


def test_the_base_image_is_the_jobs_else_the_queues_else_pythons() -> None:
    job = Job(GitSource("https://h.example/x.git"))
    assert base_image(job, {}) == DEFAULT_BASE_IMAGE
    assert base_image(job, {"base_image": "queue:1"}) == "queue:1"
    assert base_image(Job(job.source, base_image="own:1"), {"base_image": "queue:1"}) == "own:1"
