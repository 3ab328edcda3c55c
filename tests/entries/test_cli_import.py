"""`slipway import` as a person meets it: a W&B Launch agent's file goes in, queues come out (S7, S10, S21). No Slipway
is up here: the API answers in this process, straight on a data folder."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from tests.entries.command_line import Ran, Run, command_line

from slipway.cli import failure
from slipway.queues import parse_queue

CONFIG = """
entity: vision
queues: [train, big]
max_jobs: 4
environment: {type: aws, region: us-east-1}
registry:
  type: ecr
  uri: 123456789012.dkr.ecr.us-east-1.amazonaws.com/train
builder: {type: noop}
verbosity: 1
"""
TRAIN = {"local-container": {"memory": "8g", "env": ["WANDB_SILENT=true"]}}
BIG = {"kubernetes": {"kind": "PyTorchJob", "apiVersion": "kubeflow.org/v1", "metadata": {"name": "${run_id}-job"}}}
VALUES = """
agent:
  apiKey: hunter2
  image: wandb/launch-agent:latest
baseUrl: https://wandb.example.com
launchConfig: |
  queues:
    - train
  builder:
    type: noop
gitCreds: |
  https://me:hunter2@github.com
azureStorageAccessKey: hunter2
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The home of the person is empty too."""
    run = command_line(tmp_path, monkeypatch, capsys, HOME=str(tmp_path / "person"))
    Path("launch-config.yaml").write_text(CONFIG)
    Path("train.yaml").write_text(yaml.safe_dump(TRAIN))
    Path("big.json").write_text(json.dumps(BIG))
    return run


TRAINING = ("import", "launch-config.yaml", "-q", "train", "--queue-config", "train=train.yaml")
BOTH = ("import", "launch-config.yaml", "--queue-config", "train=train.yaml", "--queue-config", "big=big.json")


def results(ran: Ran) -> dict[str, str]:
    return {queue["name"]: queue["result"] for queue in ran.json["queues"]}


def test_queues_are_created_and_a_second_run_changes_nothing(run: Run) -> None:
    """S7, S10."""
    first = run(*TRAINING)
    assert (first.code, first.err) == (0, "")
    assert first.out.splitlines()[1].split() == ["vision/train", "local-container", "created"]
    for heading in ("SAME", "DIFFERS", "NO COUNTERPART"):
        assert heading in first.out.splitlines()
    queue = run("queue", "show", "vision/train", "-o", "json").json
    assert (queue["max_jobs"], queue["resource_args"]) == (4, TRAIN)
    assert queue["builder"] == {"type": "noop", "destination": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train"}
    assert results(run(*TRAINING, "-o", "json")) == {"train": "unchanged"}
    assert results(run(*TRAINING, "-j", "5", "-o", "json")) == {"train": "changed"}


def test_a_queue_that_cannot_run_here_is_told_of_and_the_others_are_created(run: Run) -> None:
    told = run(*BOTH, "-o", "json")
    assert told.code == failure.REFUSED
    assert results(told) == {"train": "created", "big": "not made"}
    (problem,) = json.loads(told.err)["error"]["problems"]
    assert problem["field"] == "big: KUBECONFIG"
    assert "--write DIR" in problem["fix"]
    assert [each["name"] for each in run("queue", "list", "-o", "json").json] == ["train"]


def test_files_are_written_that_make_the_queues(run: Run) -> None:
    """S1."""
    written = run(*BOTH, "--write", "queues", "-o", "json")
    assert (written.code, results(written)) == (0, {"train": "written", "big": "written"})
    assert written.json["queues"][1]["file"] == "queues/big.yaml"
    assert parse_queue(yaml.safe_load(Path("queues/big.yaml").read_text())).config == BIG["kubernetes"]
    assert run("queue", "list", "-o", "json").json == []
    assert run("queue", "apply", "queues/train.yaml").out == "vision/train created\n"
    assert results(run(*BOTH, "--write", "queues", "-o", "json")) == {"train": "unchanged", "big": "unchanged"}


def test_a_file_that_was_edited_is_not_overwritten(run: Run) -> None:
    run(*BOTH, "--write", "queues")
    Path("queues/train.yaml").write_text("edited: true\n")
    again = run(*BOTH, "--write", "queues")
    assert again.code == failure.REFUSED
    assert "the file is there and says something else (got 'queues/train.yaml')" in again.err
    assert Path("queues/train.yaml").read_text() == "edited: true\n"


def test_a_folder_that_cannot_be_written_is_told_of(run: Run) -> None:
    told = run(*TRAINING, "--write", "launch-config.yaml")
    assert (told.code, "train: --write: cannot be written" in told.err) == (failure.REFUSED, True)


@pytest.mark.parametrize("more", [(), ("--write", "queues")])
def test_a_dry_run_does_nothing(run: Run, more: tuple[str, ...]) -> None:
    told = run(*BOTH, "--dry-run", *more, "-o", "json")
    assert (told.code, set(results(told).values())) == (0, {"would be made"})
    assert not Path("queues").exists()
    assert not Path("data").exists()


def test_the_default_file_is_wandbs(run: Run) -> None:
    """S7."""
    told = run("import")
    assert told.code == failure.REFUSED
    assert (
        "FILE: is left out, and there is none at the default place (got '~/.config/wandb/launch-config.yaml')"
        in told.err
    )
    default = Path("person/.config/wandb/launch-config.yaml")
    default.parent.mkdir(parents=True)
    default.write_text(CONFIG)
    made = run("import", "-q", "train", "--queue-config", "train=train.yaml", "-o", "json")
    assert (made.code, made.json["entity"]) == (0, "vision")


def test_the_command_line_alone_is_enough(run: Run) -> None:
    """S7: as `wandb launch-agent -q q1 -q q2 --max-jobs 5`."""
    flags = ("-e", "vision", "-q", "a", "-q", "b", "-j", "5", "--resource", "local-process")
    made = run("import", *flags, "--queue-config", "a={}", "--queue-config", "b={}", "-o", "json")
    assert (made.code, results(made)) == (0, {"a": "created", "b": "created"})
    assert run("queue", "show", "vision/b", "-o", "json").json["max_jobs"] == 5


def test_the_entity_may_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("launch-config.yaml").write_text("queues: [train]\nbuilder: {type: noop}\n")
    assert "entity: is missing" in run(*TRAINING).err
    monkeypatch.setenv("SLIPWAY_ENTITY", "speech")
    assert run(*TRAINING, "-o", "json").json["entity"] == "speech"
    assert run(*TRAINING, "-e", "vision", "-o", "json").json["entity"] == "vision"


def test_a_queue_whose_config_is_not_given_is_told_how_to_get_it(run: Run) -> None:
    told = run("import", "launch-config.yaml", "--queue-config", "train=train.yaml")
    assert told.code == failure.REFUSED
    assert told.err == "error: big: resource_args: is not known. Give it with --queue-config big=FILE.\n"
    assert "Config tab" in told.out


def test_the_values_of_the_helm_chart_are_taken_and_no_secret_is_printed(run: Run) -> None:
    """S21."""
    Path("values.yaml").write_text(VALUES)
    for output in ("table", "json"):
        arguments = ("-e", "vision", "--queue-config", "train=train.yaml", "--dry-run", "-o", output)
        told = run("import", "values.yaml", *arguments)
        assert told.code == 0
        assert "hunter2" not in told.out + told.err
        for key in ("agent.apiKey", "baseUrl", "gitCreds", "azureStorageAccessKey"):
            assert key in told.out


def test_a_mistake_in_the_literal_block_is_told_with_its_place(run: Run) -> None:
    """S21."""
    Path("values.yaml").write_text("launchConfig: |\n  queues: [train\n")
    assert "values.yaml, launchConfig: is neither JSON nor YAML" in run("import", "values.yaml").err


def test_every_mistake_is_told_and_nothing_is_created(run: Run) -> None:
    Path("launch-config.yaml").write_text("queues: [train]\nmax_job: 3\nbuilder: {type: dokcer}\n")
    told = run(*TRAINING)
    assert (told.code, told.out) == (failure.REFUSED, "")
    assert sorted(told.err.splitlines()) == [
        "error: builder.type: is not a builder (got 'dokcer'). Did you mean 'docker'?",
        "error: entity: is missing. Name the team or person that the queues belong to, or use -e.",
        "error: max_job: is not a known field. Did you mean 'max_jobs'?",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("train", "is not NAME=FILE (got 'train')"),
        ("trian=train.yaml", "is for no queue of this agent (got 'trian'). Did you mean 'train'?"),
        ("train=none.yaml", "--queue-config train: cannot be read"),
        ("train=launch-config.yaml", "--resource"),
        ('train={"a": ', "is neither JSON nor YAML"),
    ],
)
def test_a_bad_queue_config_is_refused_in_words(run: Run, value: str, words: str) -> None:
    told = run("import", "launch-config.yaml", "-q", "train", "--queue-config", value)
    assert (told.code, words in told.err) == (failure.REFUSED, True)
    assert run("queue", "list", "-o", "json").json == []


def test_a_config_is_given_once(run: Run) -> None:
    assert "is given twice" in run(*TRAINING, "--queue-config", "train=big.json").err


def test_an_agent_that_takes_nothing_becomes_a_paused_queue(run: Run) -> None:
    """S7."""
    made = run(*TRAINING, "-j", "0")
    assert (made.code, "It is paused" in made.err) == (0, True)
    assert run("queue", "show", "vision/train", "-o", "json").json["paused"] is True


def test_standard_input_is_a_file_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(CONFIG))
    assert run("import", "-", "-q", "train", "--queue-config", "train=train.yaml", "--dry-run").code == 0


def test_a_backend_that_is_not_there_is_no_refusal(run: Run) -> None:
    assert run(*TRAINING, "--endpoint", "http://127.0.0.1:1").code == failure.BACKEND
