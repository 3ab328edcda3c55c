"""The source hash over real folders (S11): blind to all that differs between two clones of one revision, and to nothing
else."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dulwich import porcelain
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.adapters.local.sources import LocalSources
from slipway.image import Choice, ImagePlan, plan
from slipway.model import GitSource, Job

SOURCE = GitSource("https://git.example.com/team/digits.git")
ALWAYS = {
    "train.py": (b"print(1)\n", False),
    "requirements.txt": (b"numpy\n", False),
    "run.sh": (b"echo\n", True),
    ".dockerignore": (b"*.log\nDockerfile\nscratch\n", False),
}
Files = Mapping[str, tuple[bytes, bool]]
"""Path → content, and whether it may be executed."""

NAMES = st.sampled_from(["a", "b.py", "Z", "é", "with space", "x-y"])
MORE = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.tuples(st.binary(max_size=8), st.booleans()),
    max_size=5,
).filter(lambda tree: not any(other.startswith(path + "/") for path in tree for other in tree))
FILES = MORE.map(lambda more: {**ALWAYS, **more})


@dataclass(frozen=True)
class Setting:
    """What decides an image beside the tree."""

    job: Job = field(default_factory=lambda: Job(SOURCE, entry_point=("python", "train.py")))
    builder: str = "docker"
    config: Mapping[str, Any] = field(default_factory=lambda: {"build-args": {"A": "1"}, "platform": "linux/amd64"})
    default_python: str = "3.11"
    user: str = "1000:0"

    def plan(self, root: Path) -> ImagePlan:
        return plan(
            root,
            self.job,
            builder=self.builder,
            config=self.config,
            default_python=self.default_python,
            user=self.user,
        )

    def but_job(self, **changes: Any) -> Setting:
        return replace(self, job=replace(self.job, **changes))

    def but_config(self, **changes: Any) -> Setting:
        return replace(self, config={**self.config, **changes})


GENERATED = Setting()
OWN = GENERATED.but_job(dockerfile="Dockerfile")
ENVIRONMENT = replace(GENERATED, builder="environment")
SETTINGS = st.sampled_from([GENERATED, OWN, ENVIRONMENT])


def write(root: Path, files: Files) -> Path:
    for path, (content, executable) in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        if executable:
            (root / path).chmod((root / path).stat().st_mode | 0o100)
    (root / "link").symlink_to("train.py")
    # Left out of the context: as a Dockerfile it counts, and not as a file.
    (root / "Dockerfile").write_text("FROM python:3.11-slim\n")
    return root


@contextmanager
def tree(files: Files, name: str = "tree") -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, name)
        root.mkdir()
        yield write(root, files)


@contextmanager
def masked(umask: int) -> Iterator[None]:
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


# --- what two clones of a revision may differ in


@given(
    FILES,
    SETTINGS,
    st.randoms(use_true_random=False),
    st.sampled_from([0o000, 0o022, 0o027, 0o077]),
    st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_a_clone_made_elsewhere_by_somebody_else_has_the_same_tag(
    files: dict[str, tuple[bytes, bool]], setting: Setting, random: Random, umask: int, time: int
) -> None:
    """S11: order, place, name, times, umask, permissions other than the executable bit, owner."""
    shuffled = list(files.items())
    random.shuffle(shuffled)
    with tree(files) as one, masked(umask), tree(dict(shuffled), "another name") as other:
        for path in [*files, *(str(folder.relative_to(other)) for folder in other.rglob("*") if folder.is_dir())]:
            mode = (other / path).stat().st_mode
            (other / path).chmod(mode & 0o700 | random.getrandbits(6))
            os.utime(other / path, (time, time))
            if os.geteuid() == 0:
                os.chown(other / path, random.randrange(60000), random.randrange(60000))
        assert setting.plan(other).tag == setting.plan(one).tag


NOISE = {
    ".git/HEAD": (b"ref: refs/heads/main", False),
    "deep/.git": (b"gitdir: elsewhere", False),
    ".hg/store": (b"", False),
    "__pycache__/train.cpython-311.pyc": (b"\0", True),
    "deep/__pycache__/a.pyc": (b"\0", False),
    "run.log": (b"noise", False),
    "scratch/deep/data.bin": (b"noise", True),
}


@given(FILES, SETTINGS, st.sets(st.sampled_from(sorted(NOISE)), min_size=1), st.binary(max_size=4))
@settings(max_examples=40)
def test_what_is_never_part_of_the_context_decides_nothing(
    files: dict[str, tuple[bytes, bool]], setting: Setting, noise: set[str], content: bytes
) -> None:
    """S11: `.git`, `__pycache__`, what .dockerignore leaves out, and folders with nothing in them."""
    more = {path: (NOISE[path][0] + content, NOISE[path][1]) for path in noise}
    with tree(files) as one, tree({**files, **more}) as other:
        (other / "empty" / "er").mkdir(parents=True)
        (other / "scratch").mkdir(exist_ok=True)
        (other / "scratch" / "out").symlink_to("/etc/passwd")
        assert setting.plan(other).tag == setting.plan(one).tag


def test_two_git_clones_of_a_commit_and_what_a_build_fetches_have_one_tag(tmp_path: Path) -> None:
    """S11."""
    origin, who = tmp_path / "origin", b"Test <test@example.org>"
    origin.mkdir()
    with porcelain.init(origin) as repo:
        write(origin, {**ALWAYS, "deep/é.txt": (b"\xff\0", False)})
        porcelain.add(repo, [str(path) for path in origin.rglob("*") if ".git" not in path.parts and not path.is_dir()])
        commit = porcelain.commit(repo, message=b"All", author=who, committer=who, sign=False).decode()
    folders = []
    for umask, name in ((0o077, "one"), (0o002, "a clone of another name")):
        with masked(umask):
            porcelain.clone(str(origin), str(tmp_path / name), checkout=True).close()
        folders.append(tmp_path / name)
    (folders[0] / "notes.log").write_text("left out by .dockerignore")
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    LocalSources(local_paths=True).fetch(GitSource(str(origin)), commit, fetched)
    for setting in (GENERATED, OWN, ENVIRONMENT):
        assert len({setting.plan(folder).tag for folder in [*folders, fetched, origin]}) == 1


# --- what decides


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"#")


def toggle(path: Path) -> None:
    path.chmod(path.stat().st_mode ^ 0o100)


def rename(path: Path) -> None:
    path.rename(path.with_name(path.name + "_"))


def become_a_link_to_the_same(path: Path) -> None:
    """Whoever reads the file would see no difference."""
    twin = path.with_name(path.name + ".twin")
    twin.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(twin.name)


def become_a_link_to_its_digest(path: Path) -> None:
    """What is hashed of the link is what was hashed of the file."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    path.symlink_to(digest)


IN_THE_TREE: dict[str, Callable[[Path], None]] = {
    "content": grow,
    "executable bit": toggle,
    "name": rename,
    "absence": Path.unlink,
    "a link in its place": become_a_link_to_the_same,
    "a link to its digest in its place": become_a_link_to_its_digest,
}


@pytest.mark.parametrize("change", IN_THE_TREE.values(), ids=list(IN_THE_TREE))
@given(FILES, SETTINGS, st.data())
@settings(max_examples=25)
def test_a_change_of_any_one_file_changes_the_tag(
    change: Callable[[Path], None], files: dict[str, tuple[bytes, bool]], setting: Setting, data: st.DataObject
) -> None:
    """S11."""
    # A job whose entry point is gone has no image; and `.dockerignore` decides which files there are at all.
    free = ["train.py", "requirements.txt"] if change in (grow, toggle) else []
    with tree(files) as root:
        path = root / data.draw(st.sampled_from(sorted({*files.keys() - ALWAYS.keys(), "run.sh", *free})))
        before = setting.plan(root).tag
        change(path)
        assert setting.plan(root).tag != before


@given(FILES, SETTINGS, st.sampled_from(["run.sh", "nowhere", "./deep/../other"]))
@settings(max_examples=20)
def test_where_a_link_leads_decides(files: dict[str, tuple[bytes, bool]], setting: Setting, target: str) -> None:
    """S11: also when it leads to equal content, or nowhere."""
    with tree(files) as root:
        before = setting.plan(root).tag
        (root / "link").unlink()
        (root / "link").symlink_to(target)
        assert setting.plan(root).tag != before


def test_a_link_that_becomes_the_file_it_led_to_changes_the_tag() -> None:
    """S11."""
    with tree(ALWAYS) as root:
        before = GENERATED.plan(root).tag
        (root / "link").unlink()
        (root / "link").write_bytes(ALWAYS["train.py"][0])
        assert GENERATED.plan(root).tag != before


DIGEST = "python@sha256:" + "a" * 64
BESIDE_THE_TREE: dict[str, tuple[Setting, Setting]] = {
    "builder": (GENERATED, replace(GENERATED, builder="kaniko")),
    "whether there is an environment or an image": (GENERATED, ENVIRONMENT),
    "whose Dockerfile": (GENERATED, OWN),
    "a build argument's name": (GENERATED, GENERATED.but_config(**{"build-args": {"B": "1"}})),
    "a build argument's value": (GENERATED, GENERATED.but_config(**{"build-args": {"A": "2"}})),
    "a build argument's value, of a Dockerfile of its own": (OWN, OWN.but_config(**{"build-args": {"A": "2"}})),
    "a build argument more": (GENERATED, GENERATED.but_config(**{"build-args": {"A": "1", "B": ""}})),
    "base image": (GENERATED, GENERATED.but_config(base_image="python:3.11")),
    "the base image's digest": (
        GENERATED.but_config(base_image=DIGEST),
        GENERATED.but_config(base_image=DIGEST.replace("a" * 64, "b" * 64)),
    ),
    "base image for accelerators": (
        GENERATED.but_config(base_image="cuda:12"),
        GENERATED.but_config(accelerator={"base_image": "cuda:12"}),
    ),
    "platform": (GENERATED, GENERATED.but_config(platform="linux/arm64")),
    "a platform at all": (GENERATED, GENERATED.but_config(platform=None)),
    "the job's Python": (
        GENERATED.but_config(base_image="a"),
        GENERATED.but_config(base_image="a").but_job(python_version="3.12"),
    ),
    "Slipway's Python": (ENVIRONMENT, replace(ENVIRONMENT, default_python="3.12")),
    "user": (GENERATED, replace(GENERATED, user="0:0")),
    "entry point": (GENERATED, GENERATED.but_job(entry_point=("python", "-u", "train.py"))),
}


@pytest.mark.parametrize(("one", "other"), BESIDE_THE_TREE.values(), ids=list(BESIDE_THE_TREE))
def test_each_other_input_decides_alone(one: Setting, other: Setting) -> None:
    """S11, S6."""
    with tree(ALWAYS) as root:
        assert one.plan(root).tag != other.plan(root).tag


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (OWN, replace(OWN, user="0:0")),
        (OWN, OWN.but_job(entry_point=("python", "run.py"))),
        (OWN, replace(OWN, default_python="3.12")),
        (OWN, OWN.but_config(base_image="a")),
        (ENVIRONMENT, replace(ENVIRONMENT, user="0:0")),
        (ENVIRONMENT, ENVIRONMENT.but_config(base_image="a", platform="linux/arm64")),
        (GENERATED, GENERATED.but_config(destination="registry.example.com/team")),
        (GENERATED, GENERATED.but_job(source=GitSource("https://elsewhere.example.com/fork.git", "v1"))),
        (GENERATED, GENERATED.but_job(python_version="3.11.9")),
    ],
)
def test_what_does_not_reach_the_image_decides_nothing(one: Setting, other: Setting) -> None:
    """S11: the same image is built once, whoever asks for it."""
    with tree(ALWAYS) as root:
        assert one.plan(root).tag == other.plan(root).tag


@pytest.mark.parametrize("setting", [GENERATED, ENVIRONMENT], ids=["generated", "environment"])
@pytest.mark.parametrize("file", ["requirements.txt", "pyproject.toml", "requirements.frozen.txt"])
def test_what_is_installed_decides(setting: Setting, file: str) -> None:
    """S11: by each of the three files."""
    texts = [f'[project]\ndependencies = ["{name}"]\n' if file.endswith("toml") else f"{name}\n" for name in "ab"]
    without = {path: content for path, content in ALWAYS.items() if path != "requirements.txt"}
    tags = set()
    for text in texts:
        with tree({**without, file: (text.encode(), False)}) as root:
            tags.add(setting.plan(root).tag)
    assert len(tags) == 2


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=6))
@settings(max_examples=30)
def test_each_letter_of_a_dockerfile_decides(more: str) -> None:
    """S11: the text, wherever it lies: here no file of the context changes."""
    with tree(ALWAYS) as root:
        before = OWN.plan(root)
        (root / "Dockerfile").write_text(f"FROM python:3.11-slim\n{more}", "utf-8")
        after = OWN.plan(root)
        assert before.entries == after.entries
        assert before.choice is after.choice is Choice.JOB
        assert before.tag != after.tag
