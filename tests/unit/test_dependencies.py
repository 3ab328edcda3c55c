"""What a tree asks to have installed, and which files an installer must see for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.context import entries
from slipway.dependencies import Dependencies, dependencies
from slipway.dockerignore import Ignore
from slipway.errors import Invalid, Permanent

Find = Callable[[dict[str, str]], Dependencies]


@pytest.fixture
def find(tmp_path: Path) -> Find:
    def find(files: dict[str, str]) -> Dependencies:
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return dependencies(tmp_path, entries(tmp_path, Ignore()))

    return find


PROJECT = (
    '[project]\nname = "job"\nversion = "1"\ndependencies = ["numpy>=1.26", "rich[jupyter] ; python_version < \'4\'"]\n'
)


def test_requirements_go_first(find: Find) -> None:
    found = find({"requirements.txt": "torch\n", "pyproject.toml": PROJECT, "requirements.frozen.txt": "a==1\n"})
    assert found == Dependencies(("-r", "requirements.txt"), ("requirements.txt",))


def test_then_what_pyproject_lists(find: Find) -> None:
    found = find({"pyproject.toml": PROJECT, "requirements.frozen.txt": "a==1\n"})
    assert found == Dependencies(("numpy>=1.26", "rich[jupyter] ; python_version < '4'"))


def test_then_the_frozen_ones_as_they_are(find: Find) -> None:
    found = find({"pyproject.toml": "[tool.ruff]\n", "requirements.frozen.txt": "a==1\n"})
    assert found == Dependencies(("--no-deps", "-r", "requirements.frozen.txt"), ("requirements.frozen.txt",))


@pytest.mark.parametrize(
    "files",
    [
        {"train.py": ""},
        {"requirements.txt": ""},
        {"requirements.txt": "# nothing\n\n  --extra-index-url https://x # really\n"},
        {"requirements.txt": "-c constraints.txt\n", "constraints.txt": ""},
        {"pyproject.toml": "[project]\ndependencies = []\n", "requirements.frozen.txt": "a==1\n"},
        {"sub/requirements.txt": "torch\n"},
    ],
)
def test_where_nothing_is_asked_for_nothing_is_installed(find: Find, files: dict[str, str]) -> None:
    assert not find(files)


def test_included_files_are_seen_too(find: Find) -> None:
    found = find(
        {
            "requirements.txt": "-r reqs/base.txt\n--constraint=limits.txt\n",
            "reqs/base.txt": "-rmore.txt\n-r ../requirements.txt\n",
            "reqs/more.txt": "numpy\n",
            "limits.txt": "numpy<3\n",
        }
    )
    assert found.files == ("limits.txt", "reqs/base.txt", "reqs/more.txt", "requirements.txt")
    assert found
    assert not found.whole_tree


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable=.",
        ".",
        "./lib",
        "../lib",
        "lib/",
        "wheels/a-1.0-py3-none-any.whl",
        "a-1.0-py3-none-any.whl",
        "a-1.0.tar.gz ; python_version > '3'",
        "lib @ file:./lib",
        "numpy\n--find-links wheels",
        "numpy\n-f./wheels",
        "-r missing.txt\nnumpy",
    ],
)
def test_a_line_that_names_something_in_the_tree_needs_the_whole_tree(find: Find, line: str) -> None:
    found = find({"requirements.txt": line})
    assert found
    assert found.whole_tree


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy==1.26.4 --hash=sha256:" + "a" * 64,
        "zope.interface>=5,<6  # a comment ./like this",
        "torch @ https://download.example.com/torch-2.0-cp311.whl",
        "git+https://git.example.com/team/lib.git@main#egg=lib",
        "--find-links https://download.example.com/whl\ntorch",
        "--index-url https://x/simple\ntorch[a,b] ; sys_platform == 'linux'",
        "torch \\\n  >= 2.0",
    ],
)
def test_other_lines_do_not(find: Find, line: str) -> None:
    found = find({"requirements.txt": line})
    assert found
    assert not found.whole_tree


def test_a_requirements_file_behind_a_link_needs_the_whole_tree(find: Find, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").symlink_to("reqs.txt")
    assert find({"reqs.txt": "numpy\n"}) == Dependencies(("-r", "requirements.txt"), ("requirements.txt",), True)


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        ('"numpy"', "numpy"),
        ("[1]", "1"),
        ('["--index-url=https://evil"]', "--index-url"),
        ('["numpy\\nRUN evil"]', "RUN evil"),
        ('[""]', "''"),
    ],
)
def test_a_list_that_is_none_is_refused_with_the_value(find: Find, listed: str, shown: str) -> None:
    with pytest.raises(Invalid, match=r"pyproject\.toml \[project\]\.dependencies") as raised:
        find({"pyproject.toml": f"[project]\ndependencies = {listed}\n"})
    assert shown in raised.value.message


def test_a_pyproject_that_is_no_toml_is_refused_with_the_parsers_words(find: Find) -> None:
    with pytest.raises(Invalid, match=r"pyproject\.toml: is not TOML: .*line 2"):
        find({"pyproject.toml": "[project]\nname = nothing\n"})


def test_a_file_that_is_no_text_is_refused_by_name(find: Find, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfen\x00")
    with pytest.raises(Permanent, match=r"requirements\.txt"):
        find({})


def test_a_byte_order_mark_is_no_part_of_the_first_line(find: Find) -> None:
    assert not find({"requirements.txt": "\ufeff# only a comment\n"})


@given(text=st.text(max_size=80))
def test_any_requirements_file_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("tree")
    (root / "requirements.txt").write_text(text, "utf-8", "replace")
    found = dependencies(root, entries(root, Ignore()))
    assert found.arguments in ((), ("-r", "requirements.txt"))
