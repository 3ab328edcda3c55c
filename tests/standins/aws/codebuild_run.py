"""A build of the CodeBuild stand-in that really runs: source from S3, commands in a shell, the log to CloudWatch.

Stricter than CodeBuild where CodeBuild promises nothing: unpacking the source drops modes and symbolic links, and of
one command's shell only exported variables and the folder reach the next. `aws` on its PATH can do one thing.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any, Protocol

import yaml
from botocore.exceptions import ClientError
from tests.standins.aws.codebuild_build import COMMAND_FAILED, Build
from tests.standins.aws.moto_server import ACCOUNT, REGION

from slipway.adapters.aws.clients import Clients

COMMAND_PHASES = ("INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD")

_AWS = f"""#!{sys.executable}
import base64, sys
import boto3

if sys.argv[1:4] != ["ecr", "get-login-password", "--region"] or len(sys.argv) != 5:
    sys.exit("usage: aws ecr get-login-password --region REGION")
answer = boto3.client("ecr", region_name=sys.argv[4]).get_authorization_token()
print(base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode().partition(":")[2])
"""
_THEN_KEEP = '\nstatus=$?\nexport -p >"$0/state"\npwd >"$0/cwd"\nexit $status\n'


class Service(Protocol):
    def enter(self, build_id: str, phase: str) -> None: ...
    def end(self, build_id: str, status: str = ..., message: str = ..., code: str = ...) -> None: ...


class _Failed(Exception):
    def __init__(self, message: str, code: str = COMMAND_FAILED) -> None:
        super().__init__(message)
        self.code = code


class Run(threading.Thread):
    def __init__(self, build: Build, service: Service, aws: Clients, docker: str) -> None:
        super().__init__(name=f"codebuild {build.id}", daemon=True)
        self._build, self._service, self._aws, self._docker = build, service, aws, docker
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="codebuild-") as folder:
            try:
                self._whole(Path(folder))
            except _Failed as failure:
                self._say(f"Phase context status code: {failure.code} Message: {failure}")
                self._service.end(self._build.id, "FAILED", str(failure), failure.code)
            except Exception as error:  # a mistake here is told as a fault of CodeBuild's own
                self._service.end(
                    self._build.id, "FAULT", f"The stand-in is wrong: {error!r}", "INTERNAL_SERVICE_ERROR"
                )
            else:
                self._service.end(self._build.id)

    def kill(self) -> None:
        """Ends the command that runs, if one does; no other begins."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def _whole(self, folder: Path) -> None:
        source, bin_ = folder / "src", folder / "bin"
        self._provision(bin_)
        self._service.enter(self._build.id, "DOWNLOAD_SOURCE")
        self._download(source)
        spec = self._read_buildspec()
        (folder / "cwd").write_text(str(source))
        (folder / "state").touch()
        environment = {**self._surroundings(folder, bin_, source), **spec.get("env", {}).get("variables", {})}
        shell = spec.get("env", {}).get("shell", "sh")
        for phase in COMMAND_PHASES:
            self._service.enter(self._build.id, phase)
            self._say(f"Entering phase {phase}")
            for command in spec["phases"].get(phase.lower(), {}).get("commands", []):
                self._command(command, shell, {**environment, **self._build.variables}, folder)
            self._say(f"Phase complete: {phase} State: SUCCEEDED")
        self._service.enter(self._build.id, "FINALIZING")

    def _provision(self, bin_: Path) -> None:
        bin_.mkdir()
        (bin_ / "aws").write_text(_AWS)
        (bin_ / "aws").chmod(0o755)
        (bin_ / "docker").symlink_to(shutil.which(self._docker) or self._docker)
        logs = self._aws.logs
        try:
            logs.create_log_group(logGroupName=self._build.group)
        except logs.exceptions.ResourceAlreadyExistsException:
            """Made by an earlier build of the project."""
        logs.create_log_stream(logGroupName=self._build.group, logStreamName=self._build.stream)

    def _download(self, into: Path) -> None:
        bucket, _, key = self._build.source["location"].partition("/")
        self._say("Waiting for DOWNLOAD_SOURCE")
        try:
            content = self._aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            message = f"error while downloading key {key}, error: {error}"
            raise _Failed(message, "CLIENT_ERROR") from error
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(into)

    def _read_buildspec(self) -> dict[str, Any]:
        try:
            spec = yaml.safe_load(self._build.buildspec)
        except yaml.YAMLError as error:
            raise _Failed(str(error), "YAML_FILE_ERROR") from error
        if not isinstance(spec, dict) or str(spec.get("version")) != "0.2" or "phases" not in spec:
            raise _Failed("This stand-in reads buildspecs of version 0.2 with phases", "YAML_FILE_ERROR")
        return spec

    def _surroundings(self, folder: Path, bin_: Path, source: Path) -> dict[str, str]:
        """https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html"""
        kept = {name: value for name, value in os.environ.items() if name.startswith("AWS_") or name == "DOCKER_HOST"}
        return {
            **kept,
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "CODEBUILD_BUILD_ARN": self._build.arn,
            "CODEBUILD_BUILD_ID": self._build.id,
            "CODEBUILD_BUILD_NUMBER": str(self._build.number),
            "CODEBUILD_SRC_DIR": str(source),
            "CODEBUILD_AWS_ACCOUNT_ID": ACCOUNT,
        }

    def _command(self, command: str, shell: str, environment: dict[str, str], folder: Path) -> None:
        self._say(f"Running command {command}")
        script = f'. "$0/state"\n{command}{_THEN_KEEP}'
        with self._lock:
            if self._killed:
                raise _Failed("stopped")
            self._process = subprocess.Popen(
                [shell, "-c", script, str(folder)],
                cwd=(folder / "cwd").read_text().strip(),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        while chunk := self._process.stdout.readline():
            self._write([chunk.decode(errors="replace")])
        status = self._process.wait()
        with self._lock:
            self._process = None
        if status != 0:
            self._say(f"Command did not exit successfully {command} exit status {status}")
            raise _Failed(f"Error while executing command: {command}. Reason: exit status {status}")

    def _say(self, sentence: str) -> None:
        self._write([f"[Container] {time.strftime('%Y/%m/%d %H:%M:%S')} {sentence}\n"])

    def _write(self, lines: list[str]) -> None:
        at = int(time.time() * 1000)
        self._aws.logs.put_log_events(
            logGroupName=self._build.group,
            logStreamName=self._build.stream,
            logEvents=[{"timestamp": at, "message": line} for line in lines],
        )
