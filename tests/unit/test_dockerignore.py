"""Which files a .dockerignore leaves out, by Docker's documented rules."""

from __future__ import annotations

import re
from fnmatch import translate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.dockerignore import Ignore, parse
from slipway.errors import Invalid

NAMES = st.text("ab.-", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
GLOB_SEGMENTS = st.one_of(st.just("**"), st.text("ab*?", min_size=1, max_size=4).filter(lambda text: "**" not in text))
GLOBS = st.lists(GLOB_SEGMENTS, min_size=1, max_size=4).map("/".join)
LINES = st.one_of(PATHS, GLOBS, GLOBS.map("!{}".format))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("*/temp*", "somedir/temporary.txt", True),
        ("*/temp*", "somedir/temp/file", True),
        ("*/temp*", "temp", False),
        ("*/*/temp*", "somedir/subdir/temporary.txt", True),
        ("temp?", "tempa", True),
        ("temp?", "temp", False),
        ("temp?", "temp/", False),
        ("**/*.go", "main.go", True),
        ("**/*.go", "a/b/main.go", True),
        ("**.pyc", "a/b/c.pyc", True),
        ("/data", "data/big.bin", True),
        ("data/", "data/big.bin", True),
        ("./data", "data/big.bin", True),
        ("a/../data", "data", True),
        ("data", "a/data", False),
        ("data", "database", False),
        ("data/**", "data/big.bin", True),
        ("data/**", "data", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "a/b/cz", False),
        ("**", "any/thing", True),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "zx", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        (r"[\]]x", "]x", True),
        ("a.b", "aXb", False),
        (".", "a", False),
        ("..", "a", False),
    ],
)
def test_a_pattern_matches_as_docker_documents_it(pattern: str, path: str, expected: bool) -> None:
    assert parse(pattern).leaves_out(path) is expected


def test_the_last_rule_that_matches_decides() -> None:
    rules = parse("*.md\n!README*.md\nREADME-secret.md")
    assert [rules.leaves_out(name) for name in ("a.md", "README.md", "README-secret.md")] == [True, False, True]


def test_a_file_can_be_kept_in_a_folder_that_is_left_out() -> None:
    rules = parse("data\n!data/small.csv")
    assert rules.leaves_out("data/big.csv")
    assert not rules.leaves_out("data/small.csv")
    assert not rules.leaves_out_all_of("data")


def test_comments_blank_lines_and_surrounding_spaces_say_nothing() -> None:
    assert parse("\ufeff# a comment\n\n   \n  data  \r\n!  keep\n") == parse("data\n!  keep")
    assert parse("#data").leaves_out("#data") is False


@pytest.mark.parametrize("line", ["!", "[", "[]", "a[b", "[z-a]", "a\\"])
def test_a_malformed_line_is_named_with_its_number(line: str) -> None:
    with pytest.raises(Invalid, match=r"\.dockerignore line 2: ") as raised:
        parse(f"fine\n{line}\nfine too")
    assert repr(line) in raised.value.message


def test_every_malformed_line_is_named() -> None:
    with pytest.raises(Invalid) as raised:
        parse("!\n[\nfine\n[")
    assert [problem.field[-1] for problem in raised.value.problems] == ["1", "2", "4"]


@given(GLOBS, PATHS)
def test_wildcards_match_as_a_plain_recursive_matcher_says(glob: str, path: str) -> None:
    assert parse(glob).leaves_out(path) is _slowly(glob.split("/"), path.split("/"))


@given(PATHS, PATHS)
def test_a_plain_path_leaves_out_itself_and_what_lies_beneath(pattern: str, path: str) -> None:
    assert parse(pattern).leaves_out(path) is (path == pattern or path.startswith(pattern + "/"))


@given(st.lists(LINES, max_size=6), PATHS)
def test_everything_and_nothing_can_be_said_last(lines: list[str], path: str) -> None:
    assert parse("\n".join([*lines, "**"])).leaves_out(path)
    assert not parse("\n".join([*lines, "!**"])).leaves_out(path)


@given(st.lists(LINES, max_size=6), PATHS, PATHS)
def test_a_folder_is_skipped_only_when_nothing_in_it_is_kept(lines: list[str], folder: str, name: str) -> None:
    rules = parse("\n".join(lines))
    if rules.leaves_out_all_of(folder):
        assert rules.leaves_out(f"{folder}/{name}")


@given(st.text(max_size=40), st.text(min_size=1, max_size=20))
def test_any_text_is_read_or_refused(text: str, path: str) -> None:
    try:
        rules = parse(text)
    except Invalid:
        return
    assert rules.leaves_out(path) in (True, False)


@given(st.lists(st.sampled_from(["*a", "**/", "?", "*/", "**a", "[ab]*"]), min_size=20, max_size=60).map("".join))
def test_no_pattern_backtracks_for_ever(pattern: str) -> None:
    """A submitter's pattern is matched in the service itself; the suite's timeout is the judge."""
    assert parse(pattern).leaves_out("/".join(["a" * 60 + "c"] * 40)) in (True, False)


def test_no_rules_leave_nothing_out() -> None:
    assert not Ignore().leaves_out("anything")


def _slowly(glob: list[str], path: list[str]) -> bool:
    """Whether the segments match the path or one of its folders: by the book, without a thought for speed."""
    if not glob:
        return True
    if glob[0] == "**":
        if len(glob) == 1:
            return bool(path)
        return any(_slowly(glob[1:], path[start:]) for start in range(len(path) + 1))
    return bool(path) and re.match(translate(glob[0]), path[0]) is not None and _slowly(glob[1:], path[1:])
