"""From an item to a Launch: macros filled in, W&B's variables as its SDK reads them (S5, S13)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import MAPPINGS, problems_of

from slipway.launch import MAX_VARIABLE, chunked, launch
from slipway.model import GitSource, ImageSource, Item, Job, RunRef, Submission

IMAGE_JOB = Job(ImageSource("test_image"))
ITEM = Item(
    id="rqi",
    submission=Submission(
        IMAGE_JOB, "q", "test_entity", "Test_Project", queue_entity="qe", author="mock-author", sweep_id="sw1"
    ),
    resource="kubernetes",
    resource_args={"name": "${run_name}-${run_id}", "image": ["${image_uri}"], "n": 1},
    run_id="abcd1234",
    created_at=0.0,
    image="registry/test_image:1",
)


def item(**changes: Any) -> Item:
    return replace(ITEM, submission=replace(ITEM.submission, **changes))


def test_a_run_gets_wandbs_variables() -> None:
    """The variables that W&B's own agent gives an image job of a sweep (their test_get_env_vars_dict), and ours."""
    assert launch(ITEM, base_url="https://launch.example").env == {
        "WANDB_BASE_URL": "https://launch.example",
        "WANDB_PROJECT": "test_project",
        "WANDB_ENTITY": "test_entity",
        "WANDB_LAUNCH": "True",
        "WANDB_RUN_ID": "abcd1234",
        "WANDB_DOCKER": "test_image",
        "WANDB_USERNAME": "mock-author",
        "WANDB_SWEEP_ID": "sw1",
        "WANDB_LAUNCH_QUEUE_NAME": "q",
        "WANDB_LAUNCH_QUEUE_ENTITY": "qe",
        "WANDB_LAUNCH_TRACE_ID": "rqi",
        "WANDB_CONFIG": "{}",
        "WANDB_LAUNCH_FILE_OVERRIDES": "{}",
        "WANDB_ARTIFACTS": "{}",
        "SLIPWAY_ITEM": "rqi",
        "SLIPWAY_ATTEMPT": "1",
    }


def test_what_is_not_known_is_left_out() -> None:
    env = launch(item(job=Job(GitSource("https://h/x")), author=None, sweep_id=None)).env
    assert not env.keys() & {"WANDB_BASE_URL", "WANDB_DOCKER", "WANDB_USERNAME", "WANDB_SWEEP_ID", "WANDB_NAME"}
    assert "WANDB_RESUME" not in env


def test_a_resumed_run_is_told_so() -> None:
    resumed = launch(replace(ITEM, resumes=2, attempt=3))
    assert (resumed.env["WANDB_RESUME"], resumed.env["SLIPWAY_ATTEMPT"]) == ("allow", "3")
    assert resumed.run == RunRef("rqi", 3)


def test_the_author_is_the_submitter() -> None:
    """S13."""
    assert launch(item(author="ada")).env["WANDB_USERNAME"] == "ada"


def test_a_name_is_the_runs_and_its_id_stands_in() -> None:
    named = launch(item(name="my run"))
    assert (named.run_name, named.env["WANDB_NAME"], named.resource_args["name"]) == (
        "my run",
        "my run",
        "my run-abcd1234",
    )
    assert launch(ITEM).run_name == "abcd1234"


def test_the_api_key_is_a_reference_and_no_variable() -> None:
    result = launch(ITEM)
    assert result.secrets == {"WANDB_API_KEY": "WANDB_API_KEY"}
    assert "WANDB_API_KEY" not in result.env


def test_the_command_is_the_entry_point_and_its_arguments() -> None:
    result = launch(item(job=replace(IMAGE_JOB, entry_point=("python", "x.py")), args=("--lr", "1")))
    assert (result.entry_point, result.args) == (("python", "x.py"), ("--lr", "1"))
    assert result.command == ("python", "x.py", "--lr", "1")


def test_macros_are_filled_in_as_the_item_leaves() -> None:
    """S5."""
    assert launch(ITEM).resource_args == {"name": "abcd1234-abcd1234", "image": ["registry/test_image:1"], "n": 1}


def test_every_macro_without_a_value_is_reported() -> None:
    """S5."""
    unowned = replace(item(author=None), resource_args={"a": "${author}", "b": ["${nope}"], "c": "${run_id}"})
    assert problems_of(lambda: launch(unowned)).keys() == {"resource_args.a", "resource_args.b[0]"}


def test_an_item_without_an_image_is_refused() -> None:
    assert problems_of(lambda: launch(replace(ITEM, image=None))).keys() == {"image"}


def joined(env: dict[str, str], name: str) -> str:
    """As W&B's SDK reads it: the plain variable, else _0, _1, … up to the first that is not there."""
    if name in env:
        return env[name]
    pieces = []
    while (piece := env.get(f"{name}_{len(pieces)}")) is not None:
        pieces.append(piece)
    return "".join(pieces)


@given(st.text(), st.integers(1, 40))
def test_chunks_are_within_the_limit_and_make_up_the_text(text: str, limit: int) -> None:
    chunks = chunked("X", text, limit)
    assert all(len(chunk) <= limit for chunk in chunks.values())
    assert ("X" in chunks) == (len(text) <= limit)
    assert joined(chunks, "X") == text


@given(MAPPINGS, MAPPINGS, st.sampled_from(("kubernetes", "sagemaker")))
def test_config_and_file_overrides_arrive_whole(config: dict[str, Any], files: dict[str, Any], resource: str) -> None:
    env = dict(launch(replace(item(run_config=config, files=files), resource=resource)).env)
    assert json.loads(joined(env, "WANDB_CONFIG")) == config
    assert json.loads(joined(env, "WANDB_LAUNCH_FILE_OVERRIDES")) == files


def test_a_config_of_300_kb_is_split_and_artifacts_never_are() -> None:
    env = dict(launch(item(run_config={"x": "é" * 50_000}, artifacts={"a": "b" * 600})).env)
    assert "WANDB_CONFIG" not in env
    assert json.loads(joined(env, "WANDB_CONFIG")) == {"x": "é" * 50_000}
    assert json.loads(env["WANDB_ARTIFACTS"]) == {"a": "b" * 600}


def test_sagemakers_variables_are_512_characters_long_at_most() -> None:
    """S17: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html"""
    env = dict(launch(replace(item(run_config={"x": "a" * 1500}), resource="sagemaker")).env)
    assert [len(env[f"WANDB_CONFIG_{number}"]) for number in range(3)] == [512, 512, 485]


def test_a_w_and_b_job_is_told_to_the_run() -> None:
    env = launch(item(wandb_job="team/digits/job:v1", artifacts={"data": "x"})).env
    assert json.loads(env["WANDB_ARTIFACTS"]) == {"_wandb_job": "team/digits/job:v1", "data": "x"}


@pytest.mark.parametrize("length", [MAX_VARIABLE - 8, MAX_VARIABLE - 7])
def test_a_variable_is_split_only_beyond_the_limit(length: int) -> None:
    env = launch(item(run_config={"x": "a" * (length - 1)})).env
    assert ("WANDB_CONFIG" in env) == (length == MAX_VARIABLE - 8)
