"""What an image is made of as a document, and the difference of two: whole, masked, and silent about what is equal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.context import Entry
from slipway.image import Choice, ImagePlan
from slipway.model import GitSource, Item, Job, Submission
from slipway.provenance import Provenance, differences, provenance_document
from slipway.views import MASK
from slipway.web.schemas import ImageView

TRAIN = Entry("train.py", "file", False, "a" * 64)
RUN = Entry("run.sh", "file", True, "b" * 64)
LINK = Entry("latest", "link", False, "train.py")
PINNED = "python@sha256:" + "c" * 64
PLAN = ImagePlan(
    "docker",
    Path("/nowhere"),
    (LINK, RUN, TRAIN),
    ("python", "train.py"),
    "FROM python:3.11-slim\nUSER 1000:0\n",
    "python:3.11-slim",
    {"COLOUR": "red", "API_TOKEN": "hush"},
    "linux/amd64",
    "3.11",
    choice=Choice.GENERATED,
    user="1000:0",
)


def document(plan: ImagePlan = PLAN, item: str = "one", files: bool = True, **fields: Any) -> dict[str, Any]:
    job = Job(GitSource("https://user:hush@git.example.com/team/digits.git"), entry_point=("python", "train.py"))
    submission = Submission(job, queue="gpu", entity="team", project="digits")
    values = {"image": "digits:1", "source_hash": plan.tag, "revision": "f" * 40, **fields}
    made = Provenance(
        Item(item, submission, "local-container", {}, "run", 0.0, **values),
        plan,
        {"train.py": 10, "run.sh": 5, "latest": 8},
    )
    return provenance_document(made, files=files)


def test_a_document_has_every_input() -> None:
    """S11."""
    told = document()
    ImageView.model_validate(told)
    assert (told["source_hash"], told["recomputed"], told["reproduced"], told["note"]) == (PLAN.tag, PLAN.tag, True, "")
    assert (told["builder"], told["platform"], told["python_version"], told["user"]) == (
        "docker",
        "linux/amd64",
        "3.11",
        "1000:0",
    )
    assert (told["dockerfile_choice"], told["dockerfile_path"], told["dockerfile"]) == (
        "generated",
        None,
        PLAN.dockerfile,
    )
    assert told["base_images"] == [{"image": "python:3.11-slim", "pinned": False}]
    assert (told["file_count"], told["total_bytes"]) == (3, 15)
    assert told["files"] == [
        {"path": "latest", "kind": "link", "sha256": None, "target": "train.py", "bytes": 0},
        {"path": "run.sh", "kind": "executable", "sha256": "b" * 64, "target": None, "bytes": 5},
        {"path": "train.py", "kind": "file", "sha256": "a" * 64, "target": None, "bytes": 10},
    ]


def test_files_are_only_counted_unless_asked_for() -> None:
    told = document(files=False)
    ImageView.model_validate(told)
    assert (told["file_count"], told["files"]) == (3, None)


def test_no_secret_is_in_it() -> None:
    plan = replace(PLAN, dockerfile="FROM a\nRUN pip install https://user:hush@host.example/a.whl\n")
    told = document(plan)
    assert "hush" not in json.dumps(told)
    assert told["build_args"] == {"COLOUR": "red", "API_TOKEN": MASK}


def test_a_base_image_with_its_digest_is_pinned() -> None:
    told = document(replace(PLAN, dockerfile=f"FROM {PINNED} AS build\nFROM a:1\nCOPY --from=build /a /a\n"))
    assert told["base_images"] == [{"image": PINNED, "pinned": True}, {"image": "a:1", "pinned": False}]


def test_inputs_that_are_not_the_items_are_said_not_to_be() -> None:
    told = document(source_hash="0" * 24)
    assert told["reproduced"] is False
    assert PLAN.tag in told["note"]
    assert "0" * 24 in told["note"]
    assert "another version of Slipway" in told["note"]


# --- two of them


def changed(told: Mapping[str, Any]) -> set[str]:
    """Which parts of a difference say something."""
    files = told["files"]
    return {
        *told["fields"],
        *(f"build argument {name}" for name in told["build_args"]),
        *(["Dockerfile"] if told["dockerfile_diff"] else []),
        *(f"{how} {path}" for how in ("added", "removed") for path in files[how]),
        *(f"changed {each['path']}" for each in files["changed"]),
    }


@pytest.mark.parametrize(
    ("plan", "parts"),
    [
        (replace(PLAN, builder="kaniko"), {"builder"}),
        (replace(PLAN, platform=None), {"platform"}),
        (replace(PLAN, python_version="3.12"), {"python_version"}),
        (replace(PLAN, build_args={**PLAN.build_args, "COLOUR": "blue"}), {"build argument COLOUR"}),
        (replace(PLAN, build_args={"API_TOKEN": "hush"}), {"build argument COLOUR"}),
        (replace(PLAN, dockerfile=f"{PLAN.dockerfile}\n"), {"Dockerfile"}),
        (replace(PLAN, dockerfile=f"FROM {PINNED}\nUSER 1000:0\n"), {"Dockerfile", "base_images"}),
        (replace(PLAN, entries=(LINK, TRAIN)), {"removed run.sh"}),
        (replace(PLAN, entries=(*PLAN.entries, Entry("z", "file", False, "d" * 64))), {"added z"}),
        (replace(PLAN, entries=(LINK, replace(RUN, executable=False), TRAIN)), {"changed run.sh"}),
        (replace(PLAN, entries=(LINK, RUN, replace(TRAIN, content="d" * 64))), {"changed train.py"}),
        (replace(PLAN, entries=(replace(LINK, content="run.sh"), RUN, TRAIN)), {"changed latest"}),
    ],
)
def test_only_what_differs_is_told(plan: ImagePlan, parts: set[str]) -> None:
    """S11."""
    told = differences(document(), document(plan, item="two"))
    assert told["same"] is False
    assert changed(told) == parts
    assert told["verdict"].startswith("Not the same: they differ in ")
    assert "masked" not in told["verdict"]


def test_a_dockerfile_is_compared_line_by_line() -> None:
    told = differences(document(), document(replace(PLAN, dockerfile="FROM python:3.11-slim\nUSER 0:0\n"), item="two"))
    assert told["dockerfile_diff"].split("\n") == [
        "--- one",
        "+++ two",
        "@@ -1,2 +1,2 @@",
        " FROM python:3.11-slim",
        "-USER 1000:0",
        "+USER 0:0",
    ]


def test_a_missing_last_line_end_is_a_difference() -> None:
    told = differences(document(), document(replace(PLAN, dockerfile=PLAN.dockerfile[:-1]), item="two"))
    assert told["dockerfile_diff"].split("\n")[-1] == "+\\ No newline at end of file"


def test_two_that_are_the_same_are_said_to_be() -> None:
    told = differences(document(), document(item="two"))
    assert told["same"] is True
    assert told["verdict"] == f"The same: both have the source hash {PLAN.tag}."
    assert (changed(told), told["revisions"]) == (set(), None)


def test_two_revisions_may_make_one_image() -> None:
    told = differences(document(), document(item="two", revision="e" * 40))
    assert told["same"] is True
    assert "Their revisions differ, in nothing that the image is made from" in told["verdict"]
    assert told["revisions"] == ["f" * 40, "e" * 40]


def test_a_difference_that_is_masked_is_said_to_be_there_and_not_shown() -> None:
    told = differences(document(), document(replace(PLAN, build_args={"COLOUR": "red", "API_TOKEN": "other"})))
    assert changed(told) == set()
    assert "only in what is masked: the value of API_TOKEN" in told["verdict"]
    assert "hush" not in json.dumps(told)


def test_what_another_version_of_slipway_hashed_is_not_taken_for_a_difference() -> None:
    told = differences(document(source_hash="0" * 24), document(item="two"))
    assert (told["same"], changed(told)) == (False, set())
    assert "two source hashes" in told["verdict"]
    assert [note.split(":")[0] for note in told["notes"]] == ["one"]


PLANS = st.builds(
    replace,
    st.just(PLAN),
    builder=st.sampled_from(["docker", "kaniko"]),
    dockerfile=st.sampled_from(["", "FROM a\n", "FROM b\n", "FROM a\r\n", "FROM a\n\x85"]),
    build_args=st.dictionaries(st.sampled_from(["A", "API_TOKEN"]), st.sampled_from("12"), max_size=2),
    entries=st.lists(st.sampled_from(PLAN.entries), unique=True).map(tuple),
    platform=st.sampled_from([None, "linux/amd64"]),
)


@given(PLANS, PLANS)
def test_a_difference_is_told_exactly_when_there_is_one(one: ImagePlan, other: ImagePlan) -> None:
    one, other = (replace(each, entries=tuple(sorted(each.entries, key=lambda e: e.path))) for each in (one, other))
    told = differences(document(one), document(other, item="two"))
    assert told["same"] is (one.tag == other.tag)
    masked_only = not told["same"] and "only in what is masked" in told["verdict"]
    assert bool(changed(told)) is not (told["same"] or masked_only)
    json.dumps(told)
