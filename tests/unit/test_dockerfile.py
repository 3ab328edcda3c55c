"""The generated Dockerfile: small, cacheable, without root, and nothing in it that was not meant."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.dependencies import Dependencies
from slipway.dockerfile import PIP_CACHE, Base, Starter, base_image, generated_dockerfile, starting_images
from slipway.errors import Invalid

REQUIREMENTS = Dependencies(("-r", "requirements.txt"), ("requirements.txt",))


def generate(
    *entry_point: str,
    needs: Dependencies = REQUIREMENTS,
    base: Base = Base("python:3.11-slim"),
    user: str = "1000:0",
    starter: Starter | None = None,
) -> list[str]:
    text = generated_dockerfile(
        entry_point=entry_point or ("python", "train.py"),
        needs=needs,
        base=base,
        python_version="3.11",
        user=user,
        starter=starter,
    )
    return text.splitlines()


def test_the_whole_text() -> None:
    assert generate() == [
        "FROM python:3.11-slim",
        "USER 0:0",
        "ENV PYTHONUNBUFFERED=1",
        "ENV HOME=/home/slipway",
        "RUN mkdir -p -m 0775 /home/slipway",
        "WORKDIR /home/slipway",
        "COPY requirements.txt requirements.txt",
        "RUN PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir -r requirements.txt",
        "COPY --chown=1000:0 . .",
        "USER 1000:0",
        'ENTRYPOINT ["python", "train.py"]',
    ]


def test_a_builder_with_cache_mounts_keeps_what_pip_fetched_out_of_the_image() -> None:
    """S11: and nothing else is another, so that the image is the same."""
    text = generated_dockerfile(
        entry_point=("python", "train.py"),
        needs=REQUIREMENTS,
        base=Base("python:3.11-slim"),
        python_version="3.11",
        user="1000:0",
        cache_mounts=True,
    )
    plain = generate()
    changed = [(one, other) for one, other in zip(plain, text.splitlines(), strict=True) if one != other]
    assert changed == [
        (
            "RUN PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir -r requirements.txt",
            "RUN --mount=type=cache,target=/dev/slipway-pip PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install "
            "--cache-dir /dev/slipway-pip -r requirements.txt",
        )
    ]
    assert PIP_CACHE.startswith("/dev/")


def test_with_nothing_to_install_there_is_no_pip_and_no_network() -> None:
    lines = generate(needs=Dependencies())
    assert not any("pip" in line or "apt" in line for line in lines)


def test_a_change_of_code_installs_nothing_again() -> None:
    lines = generate()
    assert lines.index("COPY --chown=1000:0 . .") > next(i for i, line in enumerate(lines) if "pip install" in line)


@pytest.mark.parametrize(
    "needs",
    [
        Dependencies(("-r", "requirements.txt"), ("requirements.txt",), whole_tree=True),
        Dependencies(("-r", "requirements.txt"), ("my base.txt", "requirements.txt")),
        Dependencies(("-r", "requirements.txt"), ("$HOME.txt", "requirements.txt")),
    ],
)
def test_what_pip_must_see_is_copied_first(needs: Dependencies) -> None:
    lines = generate(needs=needs)
    assert lines.index("COPY --chown=1000:0 . .") < next(i for i, line in enumerate(lines) if "pip install" in line)
    assert sum(line.startswith("COPY") for line in lines) == 1


def test_a_starter_is_put_where_its_change_installs_nothing_again_nor_a_change_of_code_the_starter() -> None:
    starter = Starter("/opt/slipway/start.py", "print(1)\nprint('2')\n")
    put = [
        "RUN mkdir -p /opt/slipway && printf '%s\\n' \\",
        "'print(1)' \\",
        "'print('\\''2'\\'')' \\",
        "> /opt/slipway/start.py && python3 -I -S /opt/slipway/start.py python3 -c pass",
    ]
    plain = generate()
    code = plain.index("COPY --chown=1000:0 . .")
    assert generate(starter=starter) == [*plain[:code], *put, *plain[code:]]
    whole = Dependencies(("-r", "requirements.txt"), ("requirements.txt",), whole_tree=True)
    plain = generate(needs=whole)
    user = plain.index("USER 1000:0")
    assert generate(needs=whole, starter=starter) == [*plain[:user], *put, *plain[user:]]


@pytest.mark.parametrize(
    "line", ["", "  # a comment", "'", "'\\''", "\\", "%s %d \\n", "$HOME `id` $(id) !!", '"', "a  b\tc "]
)
def test_a_starter_comes_out_of_the_shell_as_it_went_in(tmp_path: Path, line: str) -> None:
    path = tmp_path / "folder" / "start.py"
    text = f'"""\n{line}\n.\n"""\nprint("it runs")\n'.replace('"\n.', '" \n.')
    (put,) = "\n".join(generate(starter=Starter(str(path), text))).split("\nRUN ")[3:]
    shell = put.split("\nCOPY")[0].replace("\\\n", "")
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert path.read_text() == text
    assert done.stdout == "it runs\n"


def test_an_accelerator_image_gets_python_from_apt() -> None:
    """S6."""
    lines = generate(base=Base("nvidia/cuda:12.4.1-runtime-ubuntu22.04", accelerator=True))
    apt = next(line for line in lines if "apt-get install" in line)
    assert lines[0] == "FROM nvidia/cuda:12.4.1-runtime-ubuntu22.04"
    assert "python3.11 libpython3.11 python3.11-venv" in apt
    assert lines.index("ENV PATH=/opt/venv/bin:$PATH") < next(
        i for i, line in enumerate(lines) if "pip install" in line
    )


def test_the_user_is_whom_the_caller_says() -> None:
    lines = generate(user="0:0")
    assert "COPY --chown=0:0 . ." in lines
    assert lines[-2] == "USER 0:0"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
def test_any_entry_point_is_one_json_line(words: list[str]) -> None:
    text = generated_dockerfile(
        entry_point=words, needs=Dependencies(), base=Base("a"), python_version="3.11", user="1000:0"
    )
    last = text.removesuffix("\n").split("\n")[-1]
    assert json.loads(last.removeprefix("ENTRYPOINT ")) == words
    assert text.count("\n") == len(generate(needs=Dependencies()))


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map("a{}".format), max_size=3))
def test_any_requirement_reaches_pip_as_it_is(requirements: list[str]) -> None:
    lines = generate(needs=Dependencies(tuple(requirements)))
    install = [line for line in lines if "pip install" in line]
    assert len(install) == bool(requirements)
    for line in install:
        assert shlex.split(line.partition("--no-cache-dir ")[2]) == requirements


@pytest.mark.parametrize(
    "reference",
    [
        "ubuntu:22.04",
        "registry.example.com:5000/team/image:tag",
        "ubuntu@sha256:" + "a" * 64,
        "localhost:5000/a/b_c/d-e:1@sha256:" + "0" * 64,
        "gcr.io/deeplearning-platform-release/base-cu121.py310",
    ],
)
def test_an_image_reference_is_taken(reference: str) -> None:
    """S6."""
    config = {"accelerator": {"base_image": reference}, "base_image": "not:used"}
    assert base_image(config, "3.11") == Base(reference, accelerator=True)
    assert base_image({"base_image": reference}, "3.11") == Base(reference)


@pytest.mark.parametrize(
    ("reference", "rule"),
    [
        (12, "must be a string"),
        (["ubuntu"], "must be a string"),
        ("ubuntu:22.04 # c", "cannot contain whitespace or '#'"),
        ("ubuntu\nRUN evil", "cannot contain whitespace or '#'"),
        ("ubuntu\n", "cannot contain whitespace or '#'"),
        ("ubuntu@sha256:abc", "sha256: and 64 hex digits"),
        ("ubuntu@md5:" + "a" * 64, "sha256: and 64 hex digits"),
        ("", "not a valid"),
        ("Ubuntu/Image", "not a valid"),
        ("ubuntu:", "not a valid"),
        ("https://registry/image", "not a valid"),
        ("$BASE", "not a valid"),
        ("a" * 256, "not a valid"),
    ],
)
def test_what_is_no_image_reference_is_refused(reference: object, rule: str) -> None:
    """S6."""
    with pytest.raises(Invalid, match=rule) as raised:
        base_image({"accelerator": {"base_image": reference}}, "3.11")
    assert raised.value.problems[0].field == "builder.accelerator.base_image"


def test_wandbs_older_name_of_the_accelerator_is_understood() -> None:
    assert base_image({"cuda": {"base_image": "nvidia/cuda"}}, "3.11") == Base("nvidia/cuda", accelerator=True)


def test_without_a_word_it_is_pythons_slim_image() -> None:
    assert base_image({}, "3.12") == base_image({"accelerator": {}}, "3.12") == Base("python:3.12-slim")


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM python:3.11\nRUN true\n", ("python:3.11",)),
        (
            "# FROM a\nARG V=1\nfrom --platform=linux/amd64 a/b:$V as Build\nFROM build\nFROM scratch",
            ("a/b:$V", "scratch"),
        ),
        ("FROM a AS one\nFROM b\nCOPY --from=one /x /x\nFROM a", ("a", "b")),
        ("FROM \\\n  python:3.11\n", ("python:3.11",)),
        ("RUN echo FROM a\n", ()),
        ("", ()),
    ],
)
def test_the_images_that_a_dockerfile_starts_from_are_named(text: str, images: tuple[str, ...]) -> None:
    """S11."""
    assert starting_images(text) == images
