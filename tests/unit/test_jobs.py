"""A W&B job that a submission carries, and the submission's own word over it (S20)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import JSON, attempt, problems_of

from slipway.model import GitSource, ImageSource, Job, Submission
from slipway.spec import parse_submission, submission_document

SPEC = {"entity": "team", "project": "digits", "queue": "gpu"}
REPO: dict[str, Any] = {
    "_version": "v0",
    "source_type": "repo",
    "source": {
        "git": {"remote": "https://git.example.com/team/digits.git", "commit": "ab" * 20},
        "entrypoint": ["python", "train.py"],
        "notebook": False,
    },
    "input_types": {"wb_type": "typedDict"},
    "output_types": {},
    "runtime": "3.11",
}
IMAGE: dict[str, Any] = {
    "_version": "v0",
    "source_type": "image",
    "source": {"image": "registry.example.com/train:1"},
    "input_types": {},
    "output_types": {},
    "runtime": "3.9",
}


def carrying(job: Any, **fields: Any) -> Submission:
    return parse_submission({**SPEC, "job": job, **fields})


def refused(job: Any, **fields: Any) -> dict[str, Any]:
    return problems_of(lambda: carrying(job, **fields))


def test_a_repository_job_is_its_commit_and_its_entry_point() -> None:
    """S20."""
    submission = carrying(REPO)
    assert submission.job == Job(
        GitSource("https://git.example.com/team/digits.git", "ab" * 20), ("python", "train.py"), python_version="3.11"
    )
    assert not submission.overrides_entry_point


def test_an_image_job_runs_as_it_is() -> None:
    """S20: W&B writes a runtime into the file of an image too, where it says nothing."""
    submission = carrying(IMAGE)
    assert submission.job == Job(ImageSource("registry.example.com/train:1"))
    named = carrying({**IMAGE, "source": {**IMAGE["source"], "entrypoint": ["python", "x.py"]}})
    assert (named.job.entry_point, named.overrides_entry_point) == (("python", "x.py"), False)


def test_what_builds_a_job_is_in_its_file() -> None:
    source = {**REPO["source"], "dockerfile": "Dockerfile.gpu", "build_context": "train", "base_image": "python:3.12"}
    job = carrying({**REPO, "source": source}).job
    assert (job.dockerfile, job.build_context, job.base_image) == ("Dockerfile.gpu", "train", "python:3.12")


@pytest.mark.parametrize(("runtime", "version"), [("3.11", "3.11"), ("3.11.4", "3.11"), ("3.12.0rc1", "3.12")])
def test_a_runtime_is_a_version_of_python_with_or_without_its_patch(runtime: str, version: str) -> None:
    assert carrying({**REPO, "runtime": runtime}).job.python_version == version


@pytest.mark.parametrize("runtime", ["2.7", "three", 3.11])
def test_another_runtime_is_refused_where_it_stands(runtime: object) -> None:
    assert refused({**REPO, "runtime": runtime}).keys() == {"job.runtime"}


def test_the_submissions_own_word_goes_over_the_job() -> None:
    """S3."""
    submission = carrying(
        REPO,
        git={"version": "main"},
        python_version="3.12",
        overrides={"entry_point": ["python", "other.py"], "dockerfile": "D", "args": ["--lr"]},
    )
    assert submission.job == Job(
        GitSource("https://git.example.com/team/digits.git", "main"),
        ("python", "other.py"),
        dockerfile="D",
        python_version="3.12",
    )
    assert submission.overrides_entry_point


@pytest.mark.parametrize("empty", [[], None, ""])
def test_an_empty_override_is_none(empty: object) -> None:
    submission = carrying(REPO, overrides={"entry_point": empty}, git={}, docker={}, python_version=None)
    assert submission.job == carrying(REPO).job
    assert not submission.overrides_entry_point


def test_a_code_artifact_is_refused_with_where_it_belongs() -> None:
    job = {**REPO, "source_type": "artifact", "source": {"artifact": "wandb-artifact://_id/x", "entrypoint": ["a"]}}
    problem = refused(job)["job.source.artifact"]
    assert problem.value == "wandb-artifact://_id/x"
    assert "uri" in problem.fix


@pytest.mark.parametrize(
    ("job", "path"),
    [
        ({**REPO, "source_type": "repos"}, "job.source_type"),
        ({**REPO, "source_type": None}, "job.source_type"),
        ({**REPO, "source": {"git": {}}}, "job.source.git.remote"),
        ({**IMAGE, "source": {}}, "job.source.image"),
        ({**REPO, "source": {**REPO["source"], "notebook": True}}, "job.source.notebook"),
        ({**REPO, "source": {**REPO["source"], "entrypoint": "python"}}, "job.source.entrypoint"),
        ({**REPO, "sources": {}}, "job.sources"),
        ({**REPO, "source": "x"}, "job.source"),
    ],
)
def test_a_bad_file_is_refused_with_the_path_in_it(job: Any, path: str) -> None:
    assert path in refused(job)


def test_a_job_and_a_source_are_one_too_many() -> None:
    assert refused(REPO, docker={"docker_image": "x"}).keys() >= {"job"}


@pytest.mark.parametrize("job", [REPO, IMAGE])
def test_a_carried_job_survives_the_document_of_its_submission(job: Any) -> None:
    submission = carrying(job, job_artifact="team/digits/job:v1", overrides={"args": ["x"]})
    assert parse_submission(submission_document(submission)) == submission


FIELDS = ("source_type", "source", "git", "remote", "commit", "entrypoint", "image", "runtime", "notebook", "artifact")
values = st.recursive(
    st.sampled_from(["repo", "image", "3.11", True, ["python"], "https://h/x.git"]) | JSON,
    lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=6), st.sampled_from([{}, REPO, IMAGE]))
def test_any_file_is_a_submission_or_refused(job: Any, base: Any) -> None:
    submission, problems = attempt(lambda: carrying({**base, **job}))
    assert (submission is None) == bool(problems)
    if submission is not None:
        assert parse_submission(submission_document(submission)) == submission
