"""The instances of a training job of the stand-in, as processes of this machine.

/opt/ml is a temporary folder: where a job's command or variables name it, they get that one.
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from tests.standins.aws.sagemaker_job import Job

GROUP = "/aws/sagemaker/TrainingJobs"
LOST = "InternalServerError: The stand-in could not run it."
_LONGEST_FAILURE = 1024

Begun = Callable[[Job], None]
Exited = Callable[[Job, str | None, Mapping[str, float]], None]


class Instances:
    """One process for each instance. `begun` and `exited` are called from a thread of its own."""

    def __init__(self, job: Job, region: str, logs: LogWriter | None, begun: Begun, exited: Exited) -> None:
        self._job, self._region = job, region
        self._begun, self._exited = begun, exited
        self._logs = logs
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[str]] = []
        self._terminated = False
        self._over = threading.Event()
        threading.Thread(target=self._run, name=job.name, daemon=True).start()

    def terminate(self, grace: float) -> None:
        """SIGTERM now, SIGKILL after `grace` seconds. One that has not begun does not begin."""
        with self._lock:
            self._terminated = True
            for process in self._processes:
                process.terminate()
        threading.Thread(target=lambda: self._over.wait(grace) or self.kill(), daemon=True).start()

    def kill(self) -> None:
        with self._lock:
            self._terminated = True
            for process in self._processes:
                _kill(process)

    def _run(self) -> None:
        names = [f"algo-{number}" for number in range(1, sum(self._job.instances.values()) + 1)]
        ends: dict[str, str | None] = {}
        metrics: dict[str, float] = {}
        self._begun(self._job)

        def work(name: str) -> None:
            ends[name] = self._instance(name, names, metrics)

        threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._over.set()
        reasons = [reason for reason in (ends.get(name, LOST) for name in names) if reason is not None]
        self._exited(self._job, reasons[0] if reasons else None, metrics)

    def _instance(self, name: str, names: list[str], metrics: dict[str, float]) -> str | None:
        """Why it failed; None when it did not."""
        with tempfile.TemporaryDirectory(prefix="opt-ml-") as folder:
            ml = Path(folder)
            (ml / "output" / "data").mkdir(parents=True)
            (ml / "input" / "config").mkdir(parents=True)
            (ml / "input" / "config" / "resourceconfig.json").write_text(
                json.dumps({"current_host": name, "hosts": names})
            )
            say = self._sayer(name)
            code = self._process(ml, say, metrics)
            failure = ml / "output" / "failure"
            words = failure.read_text(errors="replace")[:_LONGEST_FAILURE] if failure.is_file() else ""
        return None if code == 0 else f"AlgorithmError: {words}, exit code: {code}"

    def _process(self, ml: Path, say: Callable[[str], None], metrics: dict[str, float]) -> int:
        specification = self._job.request["AlgorithmSpecification"]
        words = [*specification.get("ContainerEntrypoint", ["train"]), *specification.get("ContainerArguments", [])]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": "/root",
            "AWS_REGION": self._region,
            "TRAINING_JOB_NAME": self._job.name,
            "TRAINING_JOB_ARN": self._job.arn,
            **self._job.request.get("Environment", {}),
        }
        try:
            with self._lock:
                if self._terminated:
                    return 128 + signal.SIGTERM
                process = subprocess.Popen(
                    [word.replace("/opt/ml", str(ml)) for word in words],
                    env={key: value.replace("/opt/ml", str(ml)) for key, value in env.items()},
                    cwd=ml,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,
                )
                self._processes.append(process)
        except OSError:
            say(f'exec: "{words[0]}": executable file not found in $PATH')
            return 127
        assert process.stdout is not None
        patterns = [(each["Name"], re.compile(each["Regex"])) for each in specification.get("MetricDefinitions", [])]
        for line in process.stdout:
            say(line.rstrip("\n"))
            metrics |= {name: float(found[1]) for name, pattern in patterns if (found := pattern.search(line))}
        code = process.wait()
        _kill(process)
        return code if code >= 0 else 128 - code

    def _sayer(self, name: str) -> Callable[[str], None]:
        if self._logs is None:
            return lambda line: None
        return self._logs.stream(f"{self._job.name}/{name}-{int(time.time())}")


class LogWriter:
    """Writes to CloudWatch Logs, as SageMaker does for the runs."""

    def __init__(self, url: str, region: str) -> None:
        import boto3

        keys = {"aws_access_key_id": "AKIASAGEMAKEREXAMPLE", "aws_secret_access_key": "sagemaker"}
        self._client: Any = boto3.session.Session().client("logs", endpoint_url=url, region_name=region, **keys)
        try:
            self._client.create_log_group(logGroupName=GROUP)
        except ClientError as error:
            # By its code: `client.exceptions` gives each of two threads a class of its own.
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise

    def stream(self, name: str) -> Callable[[str], None]:
        """What writes one line to it. CloudWatch Logs takes no empty message, so an empty line is lost.
        https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_InputLogEvent.html"""
        self._client.create_log_stream(logGroupName=GROUP, logStreamName=name)

        def say(line: str) -> None:
            if line:
                event = {"timestamp": int(time.time() * 1000), "message": line}
                self._client.put_log_events(logGroupName=GROUP, logStreamName=name, logEvents=[event])

        return say


def _kill(process: subprocess.Popen[str]) -> None:
    """With all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
