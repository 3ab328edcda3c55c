"""The plan of an image and its tag: decided by the inputs, all of them and nothing else (S8, S11, C4)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.context import Entry
from slipway.dockerfile import Starter
from slipway.errors import Invalid, NotFound, Permanent
from slipway.image import Choice, ImagePlan, inputs, name_of, plan
from slipway.model import ArchiveSource, GitSource, ImageSource, Job

SOURCE = GitSource("https://git.example.com/team/digits.git")
TREE = {"train.py": "print(1)", "requirements.txt": "numpy\n"}
Make = Callable[..., ImagePlan]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@pytest.fixture
def make(root: Path) -> Make:
    def make(
        files: dict[str, str] = TREE,
        builder: str = "docker",
        config: Any = None,
        starter: Starter | None = None,
        **job: Any,
    ) -> ImagePlan:
        write(root, files)
        wanted = Job(SOURCE, **{"entry_point": ("python", "train.py"), **job})
        return plan(root, wanted, builder=builder, config=config or {}, default_python="3.11", starter=starter)

    return make


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def test_a_tag_is_24_hex_digits(make: Make) -> None:
    """S11."""
    assert len(make().tag) == 24
    assert int(make().tag, 16) >= 0


def test_the_tag_of_a_known_tree_never_changes() -> None:
    """A release that changes this value builds every image anew: raise `ENCODING` when that is meant."""
    entry = Entry("train.py", "file", False, "0" * 64)
    known = ImagePlan("docker", Path("anywhere"), (entry,), (), "FROM a\n", "a", {"B": "1"}, "linux/amd64", "3.11")
    assert known.tag == "6a180a55b55316d0eeec6461"


def test_the_tag_of_a_known_tree_with_a_generated_dockerfile_never_changes_either(make: Make) -> None:
    """Where it is not started through a program of ours."""
    assert make().tag == "eb882d0ce26b59491dbe1563"


FILES = st.dictionaries(st.sampled_from(["a.py", "b/c.py", "d"]), st.text(max_size=5), max_size=3)


@given(FILES)
@settings(max_examples=30)
def test_two_clones_of_a_tree_have_the_same_tag(files: dict[str, str]) -> None:
    job = Job(SOURCE, entry_point=("python", "train.py"))
    tags = set()
    for _ in range(2):
        with tempfile.TemporaryDirectory() as clone:
            write(Path(clone), TREE | files)
            tags.add(plan(Path(clone), job, builder="docker", config={}, default_python="3.11").tag)
    assert len(tags) == 1


PLANS = st.builds(
    ImagePlan,
    builder=st.sampled_from(["docker", "environment", "kaniko"]),
    context=st.sampled_from([Path("/one"), Path("/two")]),
    entries=st.lists(
        st.builds(
            Entry,
            path=st.sampled_from(["a", "b", "a/b"]),
            kind=st.just("file"),
            executable=st.booleans(),
            content=st.text("01", min_size=1, max_size=2),
        )
        | st.builds(
            Entry,
            path=st.sampled_from(["a", "b"]),
            kind=st.just("link"),
            executable=st.just(False),
            content=st.text("01", min_size=1, max_size=2),
        ),
        max_size=2,
        unique_by=lambda entry: entry.path,
    ).map(lambda found: tuple(sorted(found, key=lambda entry: entry.path))),
    entry_point=st.sampled_from([(), ("python", "a")]),
    dockerfile=st.sampled_from(["", "FROM a", "FROM b"]),
    base_image=st.sampled_from(["", "a", "b"]),
    build_args=st.dictionaries(st.sampled_from("AB"), st.sampled_from("12"), max_size=2),
    platform=st.sampled_from([None, "linux/amd64", "linux/arm64"]),
    python_version=st.sampled_from([None, "3.11", "3.12"]),
)


def deciding(of: ImagePlan) -> object:
    return of.builder, of.entries, of.dockerfile, of.base_image, of.build_args, of.platform, of.python_version


@given(PLANS, PLANS)
@settings(max_examples=400)
def test_tags_are_equal_exactly_when_all_that_decides_the_image_is(one: ImagePlan, other: ImagePlan) -> None:
    assert (one.tag == other.tag) is (deciding(one) == deciding(other))


@given(
    PLANS,
    st.sampled_from(["builder", "dockerfile", "base_image", "build_args", "platform", "python_version", "entries"]),
)
def test_a_change_of_any_input_changes_the_tag(before: ImagePlan, field: str) -> None:
    changes: dict[str, Any] = {
        "builder": before.builder + "x",
        "dockerfile": before.dockerfile + "\n",
        "base_image": before.base_image + "x",
        "build_args": {**before.build_args, "C": "1"},
        "platform": "linux/riscv64",
        "python_version": "3.99",
        "entries": (*before.entries, Entry("new", "file", False, "0")),
    }
    assert replace(before, **{field: changes[field]}).tag != before.tag


@given(PLANS)
def test_the_inputs_are_json_and_decide_the_tag(of: ImagePlan) -> None:
    assert json.loads(json.dumps(inputs(of))) == inputs(of)
    moved = replace(
        of,
        context=Path("/elsewhere"),
        entry_point=("another",),
        cached_dockerfile="FROM a\nRUN --mount=type=cache,target=/dev/x true\n",
        choice=Choice.GENERATED,
        dockerfile_path="Dockerfile",
        user="1:2",
    )
    assert inputs(moved) == inputs(of)
    assert moved.tag == of.tag


def test_the_executable_bit_and_a_links_target_decide_the_tag(make: Make, root: Path) -> None:
    tags = {make().tag}
    (root / "train.py").chmod(0o755)
    tags.add(make().tag)
    (root / "link").symlink_to("train.py")
    tags.add(make().tag)
    (root / "link").unlink()
    (root / "link").symlink_to("requirements.txt")
    tags.add(make().tag)
    assert len(tags) == 4


def test_what_dockerignore_leaves_out_decides_nothing(make: Make) -> None:
    before = make(TREE | {".dockerignore": "*.log"}).tag
    assert make({"run.log": "noise"}).tag == before


# --- the context


def test_the_build_context_is_a_folder_of_the_source(make: Make, root: Path) -> None:
    found = make({"job/train.py": "", "other/big.bin": ""}, build_context="job")
    assert found.context == root / "job"
    assert [entry.path for entry in found.entries] == ["train.py"]


@pytest.mark.parametrize("context", ["missing", "train.py"])
def test_a_missing_build_context_is_named(make: Make, context: str) -> None:
    with pytest.raises(NotFound, match=f"Build context '{context}' not found"):
        make(build_context=context)


@pytest.mark.parametrize("context", ["..", "/etc", "out"])
def test_a_build_context_outside_the_source_is_refused(make: Make, root: Path, context: str) -> None:
    (root / "out").symlink_to("/etc")
    with pytest.raises(Permanent, match="leaves the source tree"):
        make(build_context=context)


def test_an_empty_source_is_refused(make: Make) -> None:
    with pytest.raises(Permanent, match="empty"):
        make({}, entry_point=("python", "-m", "train"))


# --- which Dockerfile


def test_the_jobs_dockerfile_goes_first(make: Make) -> None:
    files = TREE | {"docker/Dockerfile.gpu": "FROM own\n", "Dockerfile.wandb": "FROM beside\n"}
    found = make(files, dockerfile="docker/Dockerfile.gpu")
    assert found.dockerfile == found.dockerfile_for(cache_mounts=True) == "FROM own\n"
    assert (found.base_image, found.python_version, found.user) == ("", None, "")
    assert (found.choice, found.dockerfile_path) == (Choice.JOB, "docker/Dockerfile.gpu")


def test_a_dockerfile_is_looked_for_in_the_build_context(make: Make) -> None:
    found = make({"job/Dockerfile": "FROM own\n", "job/train.py": ""}, build_context="job", dockerfile="Dockerfile")
    assert found.dockerfile == "FROM own\n"


def test_a_dockerfile_that_dockerignore_leaves_out_is_used_all_the_same(make: Make) -> None:
    found = make(TREE | {"Dockerfile": "FROM own\n", ".dockerignore": "Dockerfile\n"}, dockerfile="Dockerfile")
    assert found.dockerfile == "FROM own\n"
    assert "Dockerfile" not in [entry.path for entry in found.entries]


def test_a_missing_dockerfile_is_named_with_those_that_are_there(make: Make) -> None:
    with pytest.raises(NotFound, match=r"Dockerfile 'Dockerfile\.cpu' not found in .*There is: Dockerfile\.gpu"):
        make(TREE | {"Dockerfile.gpu": ""}, dockerfile="Dockerfile.cpu")


@pytest.mark.parametrize("name", ["../Dockerfile", "/etc/hostname", "leak"])
def test_a_dockerfile_outside_the_context_is_never_read(make: Make, root: Path, name: str) -> None:
    (root / "leak").symlink_to("/etc/hostname")
    write(root, {".dockerignore": "leak\n"})
    with pytest.raises(Permanent, match="leaves the source tree"):
        make(dockerfile=name)


def test_a_dockerfile_wandb_beside_the_entry_point_makes_its_folder_the_context(make: Make, root: Path) -> None:
    files = {"jobs/a/train.py": "", "jobs/a/Dockerfile.wandb": "FROM beside\n", "other.txt": ""}
    found = make(files, entry_point=("python", "-u", "jobs/a/train.py", "--fast"))
    assert found.dockerfile == "FROM beside\n"
    assert found.context == root / "jobs" / "a"
    assert found.entry_point == ("python", "-u", "train.py", "--fast")
    assert [entry.path for entry in found.entries] == ["Dockerfile.wandb", "train.py"]
    assert (found.choice, found.dockerfile_path) == (Choice.BESIDE, "jobs/a/Dockerfile.wandb")


def test_it_is_the_entry_points_folder_also_where_its_dockerfile_is_a_link(make: Make, root: Path) -> None:
    write(root, {"jobs/train.py": "", "jobs/docker/Dockerfile": "FROM beside\n"})
    (root / "jobs" / "Dockerfile.wandb").symlink_to("docker/Dockerfile")
    found = make({}, entry_point=("python", "jobs/train.py"))
    assert found.dockerfile == "FROM beside\n"
    assert found.context == root / "jobs"
    assert found.entry_point == ("python", "train.py")


def test_within_a_build_context_it_is_looked_for_there(make: Make, root: Path) -> None:
    files = {"job/src/train.py": "", "job/src/Dockerfile.wandb": "FROM inner\n", "src/Dockerfile.wandb": "FROM outer\n"}
    found = make(files, entry_point=("python", "src/train.py"), build_context="job")
    assert found.dockerfile == "FROM inner\n"
    assert found.context == root / "job" / "src"


def test_a_dockerfile_wandb_at_the_root_serves_a_job_without_entry_point(make: Make) -> None:
    assert make(TREE | {"Dockerfile.wandb": "FROM beside\n"}, entry_point=()).dockerfile == "FROM beside\n"


def test_a_plain_dockerfile_is_not_used_unasked(make: Make) -> None:
    found = make(TREE | {"Dockerfile": "FROM for-something-else\n"})
    assert found.dockerfile.startswith("FROM python:3.11-slim\n")
    assert found.base_image == "python:3.11-slim"
    assert (found.choice, found.dockerfile_path, found.user) == (Choice.GENERATED, "", "1000:0")


def test_cache_mounts_are_for_whom_understands_them_and_no_part_of_the_tag(make: Make) -> None:
    """S11: one image, whoever builds it."""
    found = make()
    assert "--mount" not in found.dockerfile_for(cache_mounts=False)
    assert "--mount=type=cache" in found.dockerfile_for(cache_mounts=True)
    assert inputs(found)["dockerfile"] == found.dockerfile == found.dockerfile_for(cache_mounts=False)


def test_with_nothing_to_install_both_texts_are_one(make: Make) -> None:
    found = make({"train.py": ""})
    assert found.dockerfile_for(cache_mounts=True) == found.dockerfile_for(cache_mounts=False)


def test_the_jobs_python_decides_the_generated_base(make: Make) -> None:
    found = make(python_version="3.12.4")
    assert found.python_version == "3.12"
    assert found.base_image == "python:3.12-slim"


@pytest.mark.parametrize("version", ["three", "2.7", "3", "3.11; rm", "3.11 ", "3.11\n"])
def test_a_malformed_python_version_is_refused(make: Make, version: str) -> None:
    with pytest.raises(Invalid, match="python_version"):
        make(python_version=version)


def test_what_an_image_is_started_through_stands_before_its_command_and_decides_its_tag(make: Make) -> None:
    found = make(starter=Starter("/opt/start.py", "print(1)\n"))
    assert found.entry_point == ("python3", "-I", "-S", "/opt/start.py", "python", "train.py")
    assert found.dockerfile.endswith(f"ENTRYPOINT {json.dumps(list(found.entry_point))}\n")
    changed = make(starter=Starter("/opt/start.py", "print(2)\n"))
    assert len({make().tag, found.tag, changed.tag}) == 3


@pytest.mark.parametrize(
    ("files", "job"),
    [({"Dockerfile": "FROM own\n"}, {"dockerfile": "Dockerfile"}), ({"Dockerfile.wandb": "FROM own\n"}, {})],
)
def test_a_dockerfile_of_the_jobs_own_is_not_touched(make: Make, files: dict[str, str], job: dict[str, str]) -> None:
    assert make(TREE | files, starter=Starter("/opt/start.py", "print(1)\n"), **job) == make(TREE | files, **job)


# --- what to run


@pytest.mark.parametrize("builder", ["docker", "environment"])
def test_a_job_with_nothing_to_run_is_refused_with_the_cure(make: Make, builder: str) -> None:
    with pytest.raises(Permanent, match=r"no entry point.*-E"):
        make(entry_point=(), builder=builder)


@pytest.mark.parametrize("builder", ["docker", "environment"])
def test_a_missing_script_is_named_with_the_near_ones(make: Make, builder: str) -> None:
    with pytest.raises(NotFound, match=r"'trian\.py' not found.*'train\.py'"):
        make(entry_point=("python", "trian.py"), builder=builder)


def test_with_its_own_dockerfile_a_script_may_come_from_elsewhere(make: Make) -> None:
    found = make(TREE | {"Dockerfile": "FROM own\n"}, dockerfile="Dockerfile", entry_point=("python", "installed.py"))
    assert found.entry_point == ("python", "installed.py")


# --- builder: environment


def test_an_environment_needs_no_dockerfile_and_is_shared_by_entry_points(make: Make) -> None:
    found = make(TREE | {"Dockerfile.wandb": "FROM beside\n"}, builder="environment", config={"base_image": "x y"})
    assert (found.dockerfile, found.base_image, found.platform) == ("", "", None)
    assert (found.choice, found.dockerfile_for(cache_mounts=True)) == (Choice.NONE, "")
    assert found.python_version == "3.11"
    assert make(builder="environment", entry_point=("python", "-c", "pass")).tag == found.tag


def test_a_broken_dependency_file_is_refused_before_an_environment_is_made(make: Make) -> None:
    with pytest.raises(Invalid, match=r"pyproject\.toml"):
        make({"train.py": "", "pyproject.toml": "["}, builder="environment")


# --- options of the builder


def test_build_arguments_and_platform_come_from_the_queue(make: Make) -> None:
    found = make(config={"build-args": {"A": "1", "B": 2}, "platform": "linux/arm64"})
    assert dict(found.build_args) == {"A": "1", "B": "2"}
    assert found.platform == "linux/arm64"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"platform": "arm"}, "builder.platform"),
        ({"platform": 3}, "builder.platform"),
        ({"build-args": ["A=1"]}, "builder.build-args"),
        ({"build-args": {"A": True}}, "builder.build-args.A"),
        ({"build-args": {"A": {}}}, "builder.build-args.A"),
        ({"base_image": 3}, "builder.base_image"),
        ({"accelerator": {"base_image": "a b"}}, "builder.accelerator.base_image"),
        ({"accelerator": "cuda"}, "builder.accelerator"),
    ],
)
def test_a_malformed_option_is_named(make: Make, config: Any, field: str) -> None:
    """S6."""
    with pytest.raises(Invalid) as raised:
        make(config=config)
    assert [problem.field for problem in raised.value.problems] == [field]


# --- names


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (SOURCE, "digits"),
        (GitSource("git@github.com:team/My_Repo.git"), "my-repo"),
        (GitSource("https://user:s3cr3t@host.example"), "job"),
        (GitSource("https://host/team/repo/?token=s3cr3t"), "repo"),
        (ArchiveSource("/data/code v2.tar.gz"), "code-v2"),
        (ArchiveSource("https://host/数据.zip"), "job"),
        (ImageSource("anything"), "job"),
    ],
)
def test_a_repository_is_named_after_the_source(source: Any, name: str) -> None:
    assert name_of(Job(source)) == name


@given(st.text(max_size=300))
def test_any_address_gives_a_name_that_docker_takes(address: str) -> None:
    name = name_of(Job(GitSource(address)))
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert len(name) <= 128
