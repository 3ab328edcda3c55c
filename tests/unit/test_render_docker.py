"""`docker run` as a list of arguments: Docker reads there what the queue and the job said, and nothing else."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import Invalid
from slipway.model import Launch, RunRef
from slipway.render.docker import left_out, run_arguments

PLAIN = Launch(
    run=RunRef("item7", 2),
    run_id="run7",
    image="img:1",
    entry_point=(),
    args=(),
    env={},
    secrets={},
    resource_args={},
    entity="team",
    project="digits",
    run_name="a run",
)
OURS = 12
"""Words that Slipway writes at the front: run, detach, the name, two labels, the mount and the output variable."""
BARE = {"--detach", "--init", "--privileged", "--tty", "-t", "-i", "--read-only"}

words = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,12}", fullmatch=True)
valued = st.sampled_from(["cpus", "gpus", "m", "memory", "u", "user", "v", "volume", "w", "workdir", "shm-size", "p"])
values = words | st.integers() | st.floats(allow_nan=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def arguments(secrets: tuple[str, ...] = (), **changes: Any) -> list[str]:
    return run_arguments(replace(PLAIN, **changes), output="/data/out", secrets=secrets)


def theirs(**changes: Any) -> list[str]:
    """The arguments after those that every run has."""
    return arguments(**changes)[OURS:]


def as_docker_reads(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(options with their values, the image and what follows): Docker's own rules. The first word that is neither an
    option nor the value of one is the image."""
    options, rest = [], argv[1:]
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        if equals:
            options.append((name, value))
        elif name in BARE:
            options.append((name, "true"))
        else:
            options.append((name, rest.pop(0)))
    return options, rest


def variables(argv: list[str]) -> dict[str, str | None]:
    read = [value.partition("=") for name, value in as_docker_reads(argv)[0] if name in ("-e", "--env")]
    return {name: value if equals else None for name, equals, value in read}


def problems(**resource_args: Any) -> str:
    with pytest.raises(Invalid) as refused:
        theirs(resource_args={name.replace("_", "-"): value for name, value in resource_args.items()})
    return refused.value.message


def test_every_run_is_detached_named_labelled_and_has_its_output_mounted() -> None:
    assert arguments() == [
        *("run", "--detach", "--name", "slipway-item7-2", "--label", "slipway.item=item7"),
        *("--label", "slipway.attempt=2"),
        *("--mount", "type=bind,source=/data/out,target=/slipway/output"),
        *("-e", "SLIPWAY_OUTPUT_DIR=/slipway/output"),
        "img:1",
    ]


def test_secrets_are_passed_by_name_and_their_references_are_a_label() -> None:
    argv = run_arguments(replace(PLAIN, secrets={"TOKEN": "OF_TEAM"}), output="/data/out", secrets=["TOKEN"])
    options, _ = as_docker_reads(argv)
    assert ("-e", "TOKEN") in options
    assert ("--label", 'slipway.secrets=["OF_TEAM"]') in options


def test_options_are_written_in_the_order_and_by_the_names_of_the_config() -> None:
    """S19: a list repeats the option; one letter gets one dash."""
    config = {"cpus": 2, "e": ["A=1", "B=2"], "memory": "2g", "gpus": "all", "m": "1g", "volume": ["/a:/a", "/b:/b"]}
    assert theirs(resource_args=config) == [
        *("--cpus", "2", "-e", "A=1", "-e", "B=2", "--memory", "2g", "--gpus", "all", "-m", "1g"),
        *("--volume", "/a:/a", "--volume", "/b:/b", "img:1"),
    ]


@pytest.mark.parametrize("true", [True, "true", "True"])
def test_true_is_the_bare_flag(true: object) -> None:
    """S19."""
    assert theirs(resource_args={"init": true, "t": true}) == ["--init", "-t", "img:1"]


def test_a_false_flag_never_becomes_the_image() -> None:
    assert theirs(resource_args={"init": False, "t": "false"}) == ["--init=false", "-t=false", "img:1"]


@given(st.sampled_from(["privileged", "read-only", "t", "init"]), json_values)
def test_a_flag_takes_nothing_but_a_boolean(name: str, value: object) -> None:
    try:
        argv = arguments(resource_args={name: value})
    except Invalid:
        return
    assert as_docker_reads(argv)[1] == ["img:1"]


@given(st.booleans())
def test_a_boolean_for_an_option_with_a_value_swallows_no_neighbour(value: bool) -> None:
    argv = arguments(resource_args={"gpus": value, "cpus": 1})
    assert as_docker_reads(argv)[0][-2:] == [("--gpus", str(value).lower()), ("--cpus", "1")]


@given(st.lists(st.tuples(valued, values | st.lists(values, max_size=3)), unique_by=lambda pair: pair[0]))
def test_docker_reads_each_option_with_its_value_and_then_the_image(config: list[tuple[str, object]]) -> None:
    argv = arguments(resource_args=dict(config), image="the/image")
    options, rest = as_docker_reads(argv)
    expected = [
        (f"-{name}" if len(name) == 1 else f"--{name}", str(one))
        for name, value in config
        for one in (value if isinstance(value, list) else [value])
    ]
    assert options[len(options) - len(expected) :] == expected
    assert rest == ["the/image"]


@given(st.dictionaries(st.text(max_size=8) | valued | st.just("env"), json_values, max_size=4))
def test_any_config_is_either_rendered_or_refused(config: dict[str, object]) -> None:
    try:
        argv = arguments(resource_args=config)
    except Invalid:
        return
    assert all(isinstance(word, str) and "\0" not in word for word in argv)


@given(st.dictionaries(names, words))
def test_injected_variables_arrive_as_they_are_newlines_included(env: dict[str, str]) -> None:
    expected = {**env, "SLIPWAY_OUTPUT_DIR": "/slipway/output"}
    assert variables(arguments(env=env)) == expected


@pytest.mark.parametrize(
    "env", [{"A": "1", "B": None, "C": 2.5, "D": True}, ["A=1", "B", "C=2.5", "D=true"]], ids=["mapping", "list"]
)
def test_env_is_a_mapping_or_a_list(env: object) -> None:
    """S19: an entry without a value comes from the launching machine's environment."""
    expected = ["--env", "A=1", "--env", "B", "--env", "C=2.5", "--env", "D=true", "img:1"]
    assert theirs(resource_args={"env": env}) == expected


def test_env_is_one_string() -> None:
    assert theirs(resource_args={"env": "A=b=c"}) == ["--env", "A=b=c", "img:1"]


@given(st.dictionaries(names, words), st.sets(names), st.lists(names, max_size=5), st.booleans())
def test_the_queue_never_changes_a_variable_of_slipways(
    env: dict[str, str], secrets: set[str], queue: list[str], valued: bool
) -> None:
    secrets = {f"SECRET_{name}" for name in secrets}
    entries = [f"{name}=forged" if valued else name for name in [*queue, *env, *secrets, "SLIPWAY_OUTPUT_DIR"]]
    seen = variables(arguments(tuple(secrets), env=env, resource_args={"env": entries}))
    expected = {**env, "SLIPWAY_OUTPUT_DIR": "/slipway/output", **dict.fromkeys(secrets)}
    assert {name: seen[name] for name in expected} == expected


@given(names, words)
def test_a_secret_is_passed_by_name_even_where_it_is_also_plain(name: str, value: str) -> None:
    name = f"TOKEN_{name}"
    assert variables(arguments((name,), env={name: value}))[name] is None


@pytest.mark.parametrize("name", ["PATH", "HOME", "DOCKER_HOST", "LD_PRELOAD", "https_proxy", "HTTP_PROXY", "A=B", ""])
def test_a_secret_that_the_docker_command_itself_would_obey_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="secrets"):
        arguments((name,))


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        (
            ("python", "train.py"),
            ("--lr", "1"),
            ["--entrypoint", "python", "img:1", "train.py", "--lr", "1"],
        ),
        (("python",), (), ["--entrypoint", "python", "img:1"]),
        ((), ("--lr", "1"), ["img:1", "--lr", "1"]),
        ((), (), ["img:1"]),
    ],
)
def test_an_entry_point_replaces_the_images_and_arguments_alone_do_not(
    command: tuple[str, ...], args: tuple[str, ...], expected: list[str]
) -> None:
    assert theirs(entry_point=command, args=args) == expected


@given(st.lists(words, min_size=1).map(tuple))
def test_a_command_arrives_word_by_word(command: tuple[str, ...]) -> None:
    options, rest = as_docker_reads(arguments(entry_point=command))
    assert options[-1] == ("--entrypoint", command[0])
    assert rest == ["img:1", *command[1:]]


@given(words.filter(bool))
def test_any_folder_can_be_mounted(folder: str) -> None:
    argv = run_arguments(PLAIN, output=folder)
    mount = dict(as_docker_reads(argv)[0])["--mount"]
    assert [*csv.reader([mount.replace("\r", "?").replace("\n", "?")], strict=True)] == [
        ["type=bind", f"source={folder}".replace("\r", "?").replace("\n", "?"), "target=/slipway/output"]
    ]


@pytest.mark.parametrize("image", ["", "--privileged", "-v"])
def test_an_image_that_docker_would_read_as_an_option_is_refused(image: str) -> None:
    with pytest.raises(Invalid, match="image: is not an image reference"):
        arguments(image=image)


@pytest.mark.parametrize(("name", "value"), [("rm", False), ("d", False), ("cidfile", "x"), ("help", True)])
def test_options_that_slipway_needs_for_itself_are_refused_with_the_reason(name: str, value: object) -> None:
    assert f"resource_args.{name}: is set by Slipway: " in problems(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("rm", True), ("rm", "true"), ("detach", True), ("name", "job-abcd1234")])
def test_options_of_w_and_b_configs_that_change_nothing_are_taken_and_left_out(name: str, value: object) -> None:
    """S19: the config of W&B's own Docker page has `rm: true`."""
    plain = run_arguments(PLAIN, output="/o")
    assert run_arguments(replace(PLAIN, resource_args={name: value}), output="/o") == plain
    assert f"{name} is left out: " in left_out({name: value})[0]


@pytest.mark.parametrize("label", ["slipway.item=other", "slipway.attempt", ["a=b", "slipway.secrets=[]"]])
def test_labels_of_slipways_are_refused_and_others_pass(label: object) -> None:
    assert "'slipway.'" in problems(label=label)
    assert theirs(resource_args={"label": "team=a"}) == ["--label", "team=a", "img:1"]


@pytest.mark.parametrize("name", ["--shm-size", "shm_size", "SHM-SIZE"])
def test_a_name_that_is_no_option_is_refused_with_the_right_spelling(name: str) -> None:
    with pytest.raises(Invalid, match="Write 'shm-size'"):
        theirs(resource_args={name: "1g"})


def test_a_mapping_is_refused_and_so_is_an_option_without_a_value() -> None:
    said = problems(label={"a": "b"}, memory=None, volume=[["/a"]])
    assert "resource_args.label: mapping values are not supported" in said
    assert "resource_args.memory: has no value" in said
    assert "resource_args.volume: a list holds" in said


@pytest.mark.parametrize("env", [7, True, [1], ["=x"], [""], {"": "x"}, {"A=B": "x"}, {"A": [1]}, ["A=\0"]])
def test_an_env_of_another_shape_is_refused(env: object) -> None:
    assert "resource_args.env" in problems(env=env)


def test_no_problem_shows_a_variables_value() -> None:
    assert "hunter2" not in problems(env={"PASSWORD": ["hunter2"]}) + problems(env=["PASSWORD=hunter2\0"])
