"""What each function ships: everything it needs, nothing that it does not, and the same every time."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.services import missing
from tools.closure import closure
from tools.stage import BYTECODE_OF, CLOUDS, ROOT, main, pack, source_of, stage

FUNCTIONS = tuple(CLOUDS["aws"].functions)
MEGABYTE = 1_000_000
LARGEST = 15 * MEGABYTE
"""Of a zip, beyond the runtime's own boto3."""
FETCHING = {"archive", "git", "git_clients", "reach"}
LOCAL = {"__init__", "clock", "git_address", "noop", "sources", "tree"}
"""What is of use away from one's own machine too, of the adapters that were written for it."""
LOCKS = ("aws-submit", "aws-step", "aws-build", "aws-runtime")
IMPORT = """
import importlib, pathlib, sys

folder, runtime, handler = sys.argv[1:]
sys.path[:0] = [folder, runtime]
for path in sorted(pathlib.Path(folder, "slipway").rglob("*.py")):
    parts = path.relative_to(folder).with_suffix("").parts
    importlib.import_module(".".join(parts).removesuffix(".__init__"))
entry = importlib.import_module("app")
assert callable(getattr(entry, handler))
print(entry.__file__)
"""

CLUSTER = """
import sys

sys.path[:0] = sys.argv[1:]
from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.eks import access
from slipway.adapters.kubernetes.access import Access
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.errors import Refused, Temporary
from slipway.render.surroundings import Cluster

try:
    access(Clients(), "gpus")
except Refused as error:
    print(error.message)
try:
    KubernetesTarget(Api(Access("https://127.0.0.1:9"), timeout=5), Cluster(), None).live()
except Temporary as error:
    print(error.message)
assert "kubernetes" not in sys.modules
"""
"""What a step does first on a cluster, as far as it gets where neither EKS nor a cluster answers."""


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("staged")
    for name in FUNCTIONS:
        stage("aws", name, folder / name)
    return {name: folder / name for name in FUNCTIONS}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda's own Python has beside its standard library."""
    folder = tmp_path_factory.mktemp("runtime")
    uv = Path(sys.executable).with_name("uv")
    lock = ROOT / "requirements" / "aws-runtime.lock"
    command = [uv, "pip", "install", "-q", "--target", folder, "--require-hashes", "--no-deps", "-r", lock]
    subprocess.run(command, check=True)
    return folder


def modules(folder: Path) -> set[str]:
    return {path.relative_to(folder / "slipway").as_posix() for path in (folder / "slipway").rglob("*.py")}


def locked(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", text, re.MULTILINE))


class TestWhatIsShipped:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_it_is_all_that_its_modules_import(self, name: str, staged: Mapping[str, Path], runtime: Path) -> None:
        if sys.version_info[:2] != BYTECODE_OF or platform.machine() != "x86_64":
            missing("Lambda's Python, 3.11 on x86_64", "run the tests with it: make test PYTHON=python3.11")
        command = [sys.executable, "-I", "-S", "-c", IMPORT, staged[name], runtime, name]
        environ = {"AWS_REGION": "eu-west-1", "POWERTOOLS_TRACE_DISABLED": "true"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).parent == staged[name]

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_nothing_is_of_another_cloud_or_of_the_command_line(self, name: str, staged: Mapping[str, Path]) -> None:
        found = modules(staged[name])
        parts = {tuple(module.removesuffix(".py").split("/")) for module in found}
        assert {part[1] for part in parts if part[0] == "adapters"} == {
            *("__init__", "aws", "kubernetes", "local", "oci")
        }
        local = {part[2] for part in parts if part[:2] == ("adapters", "local")}
        assert local == LOCAL | (FETCHING if name in ("submit", "build") else set())
        assert not {part for part in parts if part[0] in ("cli", "wandb", "wire")}
        assert ("wire_aws",) in parts

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_clusters_are_spoken_to_without_kubernetes_own_client(
        self, name: str, staged: Mapping[str, Path], runtime: Path
    ) -> None:
        """It would be 75 MB: urllib3 is enough, which Lambda's own boto3 brings."""
        if sys.version_info[:2] != BYTECODE_OF or platform.machine() != "x86_64":
            missing("Lambda's Python, 3.11 on x86_64", "run the tests with it: make test PYTHON=python3.11")
        assert not (staged[name] / "kubernetes").exists()
        command = [sys.executable, "-I", "-S", "-c", CLUSTER, staged[name], runtime]
        keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "of-nobody"}
        environ = {"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", **keys}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        eks, cluster = done.stdout.splitlines()
        assert eks.startswith("cannot look up the EKS cluster gpus: Could not connect")
        assert "https://127.0.0.1:9 does not answer" in cluster

    def test_each_ships_what_it_calls_and_not_what_another_does(self, staged: Mapping[str, Path]) -> None:
        assert "web/app.py" in modules(staged["submit"])
        assert (staged["submit"] / "slipway" / "web" / "docs.html").exists()
        for name in ("advance", "build", "observe", "tick"):
            assert not {module for module in modules(staged[name]) if module.startswith("web/")}
            assert not (staged[name] / "fastapi").exists()
        for name in ("submit", "advance", "observe"):
            assert "functions/tick.py" not in modules(staged[name])
        assert "functions/build.py" not in modules(staged["tick"])

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_the_sdk_is_lambdas_own(self, name: str, staged: Mapping[str, Path]) -> None:
        there = {path.name for path in staged[name].iterdir()}
        assert not there & {"boto3", "botocore", "s3transfer", "awslambdaric"}

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_no_tests_no_programs_and_no_notes_of_the_installer(self, name: str, staged: Mapping[str, Path]) -> None:
        files = [path.relative_to(staged[name]) for path in staged[name].rglob("*") if path.is_file()]
        assert not [path for path in files if {"tests", "test"} & set(path.parts) or path.parts[0] == "bin"]
        assert not [path for path in files if path.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")]
        assert not [path for path in files if path.name.startswith(".")]

    def test_it_tells_nothing_of_where_it_was_put_together(self, staged: Mapping[str, Path]) -> None:
        for path in staged["tick"].rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert str(ROOT).encode() not in content
                assert str(staged["tick"]).encode() not in content

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_each_zip_is_small_enough(
        self, name: str, staged: Mapping[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pack(staged[name], tmp_path / "code.zip")
        size = (tmp_path / "code.zip").stat().st_size
        with capsys.disabled():
            print(f"\n{name}: {size / MEGABYTE:.1f} MB zipped", end="")  # noqa: T201
        assert size <= LARGEST


class TestTheSameEveryTime:
    def test_the_same_source_gives_the_same_zip_and_what_was_staged_before_is_gone(
        self, staged: Mapping[str, Path], tmp_path: Path
    ) -> None:
        again = shutil.copytree(staged["tick"], tmp_path / "again")
        (again / "left_over.py").touch()
        stage("aws", "tick", again)
        assert pack(again, tmp_path / "again.zip") == pack(staged["tick"], tmp_path / "tick.zip")

    def test_another_source_gives_another_zip(self, staged: Mapping[str, Path], tmp_path: Path) -> None:
        changed = shutil.copytree(staged["tick"], tmp_path / "changed")
        with (changed / "slipway" / "model.py").open("a") as file:
            file.write("# changed\n")
        assert pack(changed, tmp_path / "changed.zip") != pack(staged["tick"], tmp_path / "tick.zip")

    def test_a_folder_of_somebodys_is_left_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "chapter-1.tex").touch()
        assert main(["aws", str(tmp_path), "tick"]) == 1
        assert "holds something else" in capsys.readouterr().err
        assert (tmp_path / "chapter-1.tex").exists()

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "usage"),
            (["asw", "out"], "there is: aws"),
            (["aws", "out", "tock"], "it has: submit, advance, build, observe, tick"),
        ],
    )
    def test_what_there_is_not_is_said(
        self, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments) == 2
        assert said in capsys.readouterr().err


class TestLocks:
    @pytest.mark.parametrize("name", [*LOCKS, "sam"])
    def test_every_library_is_pinned_with_hashes_and_no_host_is_named(self, name: str) -> None:
        text = (ROOT / "requirements" / f"{name}.lock").read_text()
        requirements = [line for line in text.splitlines() if line and line[0] not in " #"]
        assert len(requirements) == len(locked(name)) > 5
        assert text.count("--hash=sha256:") >= len(requirements)
        assert "://" not in text

    @pytest.mark.parametrize("name", LOCKS)
    def test_what_is_shipped_is_what_is_tested(self, name: str) -> None:
        tested = locked("dev")
        assert {each: version for each, version in locked(name).items() if tested.get(each) != version} == {}


class TestClosure:
    """Over a small package of its own."""

    @pytest.fixture
    def find(self, tmp_path: Path) -> Any:
        sources = {
            "slipway/__init__.py": "",
            "slipway/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from slipway import types\n",
            "slipway/two.py": "def go():\n    from slipway.deep import inner\n",
            "slipway/types.py": "",
            "slipway/deep/__init__.py": "from slipway import one",
            "slipway/deep/inner.py": "",
            "slipway/named.py": "import slipway.circle",
            "slipway/circle.py": "import slipway.named",
            "app.py": "import json\n"
            "from slipway import one\n\n"
            "WHERE = 'slipway.named:Thing'\n\n"
            "def first(event): return helper(event)\n\n"
            "def helper(event):\n    import slipway.two\n\n"
            "def second(event): return load(WHERE)\n\n"
            "def third(event): return 'see slipway.named: it is told there'\n",
        }
        for name, source in sources.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)

        def found(module: str) -> Path | None:
            path = tmp_path.joinpath(*module.split("."))
            return next((each for each in (path / "__init__.py", path.with_suffix(".py")) if each.is_file()), None)

        return found

    @pytest.mark.parametrize(
        ("handler", "without", "reached"),
        [
            ("first", "", {"slipway", "slipway.one", "slipway.two", "slipway.deep", "slipway.deep.inner"}),
            ("first", "slipway.two", {"slipway", "slipway.one"}),
            ("second", "", {"slipway", "slipway.one", "slipway.named", "slipway.circle"}),
            ("third", "", {"slipway", "slipway.one"}),
        ],
    )
    def test_a_handler_reaches_what_it_uses(
        self, handler: str, without: str, reached: set[str], find: Any, tmp_path: Path
    ) -> None:
        assert set(closure(tmp_path / "app.py", handler, find, frozenset({without}))) == reached

    def test_a_handler_that_is_not_there_is_an_error(self, find: Any, tmp_path: Path) -> None:
        with pytest.raises(LookupError, match="fourth"):
            closure(tmp_path / "app.py", "fourth", find)

    def test_every_module_of_slipway_is_found_where_the_project_says(self) -> None:
        assert source_of("slipway.functions.tick") == ROOT / "functions" / "tick.py"
        assert source_of("slipway.adapters.aws") == ROOT / "shared/slipway/adapters/aws/__init__.py"
        assert source_of("slipway") == ROOT / "shared/slipway/__init__.py"
        assert source_of("slipway.errors.Invalid") is None
        assert source_of("json") is None
