"""Launch specs: bad input of every kind is answered with the field, the value and the rule (S20)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import MAPPINGS, any_document, attempt, problems_of

from slipway.model import ArchiveSource, GitSource, ImageSource, Job, Submission
from slipway.resources import RESOURCES
from slipway.spec import ARCHIVES, PRIORITIES, parse_submission, submission_document

GIT = {"entity": "team", "project": "digits", "queue": "gpu", "uri": "https://example.com/digits.git"}
IMAGE = {"entity": "team", "project": "digits", "queue": "gpu", "docker": {"docker_image": "python:3.11"}}
SHA = "ab" * 32
FIELDS = (
    *(
        "entity",
        "project",
        "queue",
        "queue_entity",
        "name",
        "uri",
        "git",
        "version",
        "sha256",
        "docker",
        "docker_image",
    ),
    *(
        "image_uri",
        "job",
        "resource",
        "resource_args",
        "template_variables",
        "priority",
        "overrides",
        "args",
        "run_config",
    ),
    *(
        "entry_point",
        "dockerfile",
        "artifacts",
        "files",
        "build_context",
        "python_version",
        "run_id",
        "author",
        "sweep_id",
    ),
    *("idempotency_key", "kubernetes"),
)
LIKELY: tuple[Any, ...] = (
    "kubernetes",
    "https://x/y.git",
    "http://[",
    "x.zip#sha256=1",
    "a 'b",
    "3.11",
    SHA,
    2,
    "high",
    "../x",
    {},
    [],
    "\0",
)


def refused(**changes: Any) -> dict[str, Any]:
    return problems_of(lambda: parse_submission({**GIT, **changes}))


def accepted(**changes: Any) -> Submission:
    return parse_submission({**GIT, **changes})


def test_a_git_repository_is_a_source() -> None:
    """S20."""
    submission = accepted(git={"version": "v1"}, overrides={"entry_point": ["python", "train.py"]})
    assert submission.job == Job(GitSource("https://example.com/digits.git", "v1"), ("python", "train.py"))


@pytest.mark.parametrize("ending", [*ARCHIVES, ".ZIP", ".tar.gz?token=x", ".zip#part"])
def test_a_uri_whose_path_ends_as_an_archive_is_one(ending: str) -> None:
    """S20."""
    uri = f"https://example.com/code{ending}"
    assert accepted(uri=uri, sha256=SHA.upper()).job.source == ArchiveSource(uri, SHA)


@pytest.mark.parametrize("uri", ["https://h/x.git?file=a.zip", "git@h:team/x", "/srv/zip", "https://h/tar/"])
def test_any_other_uri_is_a_git_repository(uri: str) -> None:
    assert accepted(uri=uri).job.source == GitSource(uri)


def test_an_archives_digest_may_stand_in_the_uri() -> None:
    assert accepted(uri=f"https://h/x.zip#sha256={SHA}").job.source == ArchiveSource("https://h/x.zip", SHA)
    assert "sha256" in refused(uri=f"https://h/x.zip#sha256={SHA}", sha256="cd" * 32)
    assert "uri" in refused(uri="https://h/x.zip#sha256=12")


def test_an_archive_that_is_downloaded_needs_its_digest() -> None:
    assert "sha256sum" in refused(uri="https://h/x.zip")["sha256"].fix
    assert accepted(uri="/data/x.zip").job.source == ArchiveSource("/data/x.zip")


@pytest.mark.parametrize("image", [{"docker": {"docker_image": "a:1"}}, {"image_uri": "a:1", "docker": {}}])
def test_an_image_is_named_in_either_of_two_ways(image: dict[str, Any]) -> None:
    """S20."""
    assert accepted(uri=None, **image).job.source == ImageSource("a:1")


def test_two_different_images_are_refused() -> None:
    assert refused(uri=None, image_uri="a:1", docker={"docker_image": "b:1"}).keys() == {"image_uri"}


def test_an_image_and_a_source_are_refused() -> None:
    assert "a source or an image" in refused(docker={"docker_image": "a"})["uri"].fix


def test_neither_image_nor_source_is_refused() -> None:
    assert refused(uri=None, docker={}).keys() == {"uri"}


def test_a_job_artifact_is_refused_with_where_it_belongs() -> None:
    problems = refused(uri=None, job="team/digits/job:latest")
    assert problems.keys() == {"job"}
    assert "W&B gateway" in problems["job"].rule


def test_what_builds_an_image_is_refused_beside_an_image() -> None:
    changes = {
        "build_context": "x",
        "python_version": "3.11",
        "overrides": {"dockerfile": "D"},
        "git": {"version": "v"},
    }
    problems = problems_of(lambda: parse_submission({**IMAGE, **changes, "sha256": SHA}))
    assert problems.keys() == {"build_context", "python_version", "overrides.dockerfile", "git.version", "sha256"}


@pytest.mark.parametrize("uri", ["https://user:hunter2@h/x.git", "https://hunter2@h/x.git", "ssh://u:hunter2@h/x"])
def test_a_secret_in_a_uri_is_refused_and_not_repeated(uri: str) -> None:
    assert "hunter2" not in str(refused(uri=uri)["uri"])


def test_a_user_in_an_ssh_uri_is_no_secret() -> None:
    assert accepted(uri="ssh://git@h/x").job.source == GitSource("ssh://git@h/x")


@pytest.mark.parametrize("uri", ["", "--upload-pack=x", "http://[", "https://h/\nx", 5, ["x"]])
def test_what_is_no_uri_is_refused(uri: object) -> None:
    assert refused(uri=uri).keys() == {"uri"}


def test_five_mistakes_are_five_problems() -> None:
    problems = refused(
        entity="a/b", run_id="Run 1", priority=9, overrides={"args": ["--lr", 0.1], "run_confg": {}}, python_version=3.1
    )
    assert problems.keys() == {
        *("entity", "run_id", "priority", "overrides.args[1]", "overrides.run_confg", "python_version")
    }
    assert problems["overrides.run_confg"].fix == "Did you mean 'run_config'?"


def test_what_is_missing_is_named() -> None:
    problems = problems_of(lambda: parse_submission({}))
    assert problems.keys() == {"entity", "project", "queue", "uri"}


def test_entity_and_project_stand_in_where_the_document_has_none() -> None:
    document = {"queue": "q", "uri": "https://h/x", "project": "own"}
    submission = parse_submission(document, entity="team", project="other")
    assert (submission.entity, submission.project) == ("team", "own")


@pytest.mark.parametrize("field", ["entity", "project", "queue", "queue_entity"])
@pytest.mark.parametrize("value", ["", "a/b", "..", "x\x00", "x" * 200, 5, ["x"], {}])
def test_a_bad_name_is_refused(field: str, value: object) -> None:
    assert refused(**{field: value}).keys() == {field}


def test_names_and_values_may_be_in_any_script() -> None:
    submission = accepted(
        entity="チーム", queue="대기열", name="пробный 🚀", overrides={"args": ["ü"], "run_config": {"é": "ł"}}
    )
    assert (submission.entity, submission.queue, submission.args) == ("チーム", "대기열", ("ü",))


@pytest.mark.parametrize(("value", "number"), [*PRIORITIES.items(), (0, 0), (3, 3), ("1", 1), ("High", 1), (None, 2)])
def test_a_priority_is_a_number_or_a_word(value: object, number: int) -> None:
    """S2."""
    assert accepted(priority=value).priority == number


@pytest.mark.parametrize("value", [-1, 4, 1.0, True, "urgent", "", [], {}])
def test_any_other_priority_is_refused(value: object) -> None:
    assert refused(priority=value).keys() == {"priority"}


def test_an_entry_point_in_one_string_is_split_as_a_shell_would() -> None:
    overrides = {"entry_point": "python 'my script.py'\n  --fast"}
    assert accepted(overrides=overrides).job.entry_point == ("python", "my script.py", "--fast")
    assert refused(overrides={"entry_point": "python 'x"}).keys() == {"overrides.entry_point"}


@pytest.mark.parametrize("value", [5, {"a": 1}, ["x", None], "a\0b", ["a\0"], [""]])
def test_a_bad_entry_point_is_refused(value: object) -> None:
    (field,) = refused(overrides={"entry_point": value})
    assert field.startswith("overrides.entry_point")


@pytest.mark.parametrize("path", ["/etc/Dockerfile", "../Dockerfile", "a/../../b", "~/x", ""])
def test_a_path_outside_the_source_is_refused(path: str) -> None:
    overrides = {"dockerfile": path, "files": {path: {}}}
    assert len(refused(overrides=overrides, build_context=path)) == 3


def test_files_are_mappings_of_the_values_to_change() -> None:
    assert accepted(overrides={"files": {"conf/a.yaml": {"lr": 1}}}).files == {"conf/a.yaml": {"lr": 1}}
    assert refused(overrides={"files": {"a.yaml": [1]}}).keys() == {r"overrides.files.a\.yaml"}


def test_artifacts_fit_one_environment_variable() -> None:
    assert refused(overrides={"artifacts": {"a": "x" * 40_000}}).keys() == {"overrides.artifacts"}


def test_resource_args_may_be_nested_under_their_resource_or_bare() -> None:
    nested = accepted(resource_args={"kubernetes": {"spec": 1}})
    bare = accepted(resource="kubernetes", resource_args={"spec": 1})
    assert nested == bare
    assert accepted(resource_args={"vertex": {"run": {}}}).resource == "gcp-vertex"


def test_resource_args_of_two_resources_or_another_one_are_refused() -> None:
    assert refused(resource_args={"kubernetes": {}, "sagemaker": {}}).keys() == {"resource_args"}
    assert refused(resource="sagemaker", resource_args={"kubernetes": {}}).keys() == {"resource_args"}
    assert refused(resource_args={"kubernetes": [1]}).keys() == {"resource_args.kubernetes"}


def test_an_unknown_resource_is_answered_with_the_nearest() -> None:
    """S1."""
    assert refused(resource="kubernets")["resource"].fix == "Did you mean 'kubernetes'?"


@pytest.mark.parametrize("run_id", ["a", "8", "a_b-c", "x" * 64])
def test_a_run_id_is_kept(run_id: str) -> None:
    assert accepted(run_id=run_id).run_id == run_id


@pytest.mark.parametrize("run_id", ["A", "-a", "a b", "x" * 65, "é", "a\n"])
def test_a_run_id_that_a_backend_could_not_take_is_refused(run_id: str) -> None:
    assert refused(run_id=run_id).keys() == {"run_id"}


def test_a_config_of_300_kb_is_kept() -> None:
    config = {f"key {number}": "x" * 100 for number in range(3000)}
    submission = accepted(overrides={"run_config": config})
    assert submission.run_config == config


def test_a_document_of_more_than_a_mebibyte_is_refused() -> None:
    assert "larger" in str(refused(overrides={"run_config": {"x": "a" * (1 << 20)}})["document"])


@pytest.mark.parametrize("document", [None, [], "x", 3])
def test_what_is_no_mapping_is_refused(document: Any) -> None:
    assert problems_of(lambda: parse_submission(document)).keys() == {"document"}


@given(any_document(FIELDS, LIKELY))
def test_any_value_is_a_submission_or_invalid(document: Any) -> None:
    submission, problems = attempt(lambda: parse_submission(document, entity="team", project="digits"))
    assert isinstance(submission, Submission) != bool(problems)
    assert all(problem.field and problem.rule and str(problem) for problem in problems)


LETTERS = st.characters(categories=["L", "N"], max_codepoint=0xFFFF)
NAMES = st.text(LETTERS, min_size=1, max_size=20)
MAYBE = st.none() | NAMES
SOURCES = st.one_of(
    st.builds(GitSource, st.just("https://h/x.git"), MAYBE),
    st.builds(ArchiveSource, st.just("https://h/x.tgz"), st.just(SHA)),
    st.builds(ImageSource, NAMES),
)
WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=3).map(tuple)
BASE_IMAGES = st.none() | st.sampled_from(["python:3.12", "registry.example.com:5000/team/base@sha256:" + SHA])
SERVICES = st.fixed_dictionaries({"config": MAPPINGS}, optional={"name": NAMES})


@st.composite
def submissions(draw: st.DrawFn) -> Submission:
    source = draw(SOURCES)
    build, words = {}, ("python", *draw(WORDS))
    if not isinstance(source, ImageSource):
        build = {"dockerfile": draw(MAYBE), "build_context": draw(MAYBE), "python_version": "3.12"}
        build |= {"base_image": draw(BASE_IMAGES), "user_id": draw(st.none() | st.integers(1, 65535))}
    resource = draw(st.none() | st.sampled_from(RESOURCES))
    args = {
        key: value for key, value in draw(MAPPINGS).items() if resource or key not in (*RESOURCES, "vertex", "local")
    }
    return Submission(
        job=Job(source, words, **build),
        queue=draw(NAMES),
        entity=draw(NAMES),
        project=draw(NAMES),
        queue_entity=draw(MAYBE),
        name=draw(MAYBE),
        run_id=draw(st.none() | st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)),
        author=draw(MAYBE),
        sweep_id=draw(MAYBE),
        resource=resource,
        resource_args=args,
        template_variables=draw(MAPPINGS),
        priority=draw(st.integers(0, 3)),
        args=draw(WORDS),
        overrides_entry_point=draw(st.booleans()),
        working_dir=None if isinstance(source, ImageSource) else draw(MAYBE),
        wandb_job=draw(st.none() | st.just("team/digits/job:v1")),
        additional_services=draw(st.lists(SERVICES, max_size=2).map(tuple)),
        run_config=draw(MAPPINGS),
        artifacts=draw(MAPPINGS),
        files=draw(st.dictionaries(NAMES, MAPPINGS, max_size=2)),
        idempotency_key=draw(MAYBE),
    )


@pytest.mark.parametrize(
    ("fields", "overriding"),
    [
        ({"entry_point": ["python"]}, False),
        ({"entry_point": ["python"], "overrides": {"entry_point": []}}, False),
        ({"entry_point": ["python"], "overrides": {"entry_point": ["other"]}}, True),
        ({"overrides": {"entry_point": ["other"]}}, True),
        ({"entry_point": []}, True),
        ({}, True),
    ],
)
def test_a_jobs_own_entry_point_is_not_an_override(fields: dict[str, Any], overriding: bool) -> None:
    submission = accepted(**fields)
    assert submission.overrides_entry_point is overriding
    assert parse_submission(submission_document(submission)) == submission


@given(submissions())
def test_a_submission_survives_its_document(submission: Submission) -> None:
    document = json.loads(json.dumps(submission_document(submission)))
    assert parse_submission(document) == submission
