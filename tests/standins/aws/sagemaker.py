"""SageMaker's training jobs on loopback, with their documented life cycle and refusals.

moto's jobs are complete at once, cannot be stopped, and may share a name. Here jobs move as the clock is moved or a
test says, or (`runs`) as what they were asked to run goes, as processes of this machine.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.standins.aws.json_service import JsonService, ServiceError
from tests.standins.aws.moto_server import ACCOUNT, REGION
from tests.standins.aws.sagemaker_job import Job
from tests.standins.aws.sagemaker_process import Instances, LogWriter
from tests.standins.aws.sagemaker_search import matches, page

GRACE = 120.0
"""Seconds between SIGTERM and SIGKILL.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StopTrainingJob.html"""
CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
INTERNAL = "InternalServerError: We encountered an internal error. Please try again."
_NOT_FOUND = "Requested resource not found."
_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.(amazonaws\.com(?:\.cn)?)/([^:@]+)[:@].+")


class SageMakerStandin(JsonService):
    """`logs` is the URL of a CloudWatch Logs, for what runs write; `grace` shortens the wait after SIGTERM.
    `on_event` gets EventBridge's envelope of each change, from the thread that caused it: it should be quick."""

    service = "sagemaker"

    def __init__(
        self,
        *,
        runs: bool = False,
        logs: str | None = None,
        on_event: Callable[[dict[str, Any]], object] = lambda event: None,
        grace: float = GRACE,
        host: str = "127.0.0.1",
        account: str = ACCOUNT,
        region: str = REGION,
    ) -> None:
        super().__init__(host)
        self.jobs: dict[str, Job] = {}
        self.quotas: dict[str, int] = {}
        """Instance type → how many may be in use at once. One that is not here has no limit."""
        self.not_offered: set[str] = set()
        """Instance types that this region does not have."""
        self.closed_roles: set[str] = set()
        """ARNs of roles that SageMaker may not assume."""
        self.missing_images: set[str] = set()
        self.registries: set[str] = set()
        """Hosts on loopback that play ECR."""
        self.missing_buckets: set[str] = set()
        self.startup, self.download = 60.0, 30.0
        """Seconds of Starting and of Downloading, of jobs that do not really run."""
        self._grace, self._account, self._region = grace, account, region
        self._runs = runs
        self._logs = None if logs is None else LogWriter(logs, region)
        self._instances: dict[str, Instances] = {}
        self._on_event = on_event
        self._events: deque[dict[str, Any]] = deque()
        self._delivering = threading.Lock()

    def stop(self) -> None:
        """What runs is killed."""
        super().stop()
        for instances in list(self._instances.values()):
            instances.kill()

    # --- what a test makes happen

    def move(self, name: str, status: str, secondary: str, reason: str = "") -> None:
        with self._changing():
            self._move(self.jobs[name], status, secondary, reason)

    def train(self, name: str) -> None:
        """It has its instances, and its code runs."""
        with self._changing():
            self._to_training(self.jobs[name])

    def finish(self, name: str, metrics: Mapping[str, float] | None = None) -> None:
        with self._changing():
            job = self.jobs[name]
            self._to_training(job)
            self._move(job, "InProgress", "Uploading")
            told = metrics or {}
            job.metrics = [{"MetricName": key, "Value": told[key], "Timestamp": self.now()} for key in told]
            self._move(job, "Completed", "Completed")

    def fail(self, name: str, reason: str) -> None:
        """`CAPACITY` and `INTERNAL` are AWS's own fault."""
        self.move(name, "Failed", "Failed", reason)

    def interrupt(self, name: str) -> None:
        """Its spot instances are taken away. It waits for others until its MaxWaitTimeInSeconds."""
        self.move(name, "InProgress", "Interrupted")

    def advanced(self) -> None:
        for job in self.jobs.values():
            self._age(job)

    def settled(self) -> None:
        """Delivers events, in order, one thread at a time: whoever is called may call back."""
        while self._events and self._delivering.acquire(blocking=False):
            try:
                while self._events:
                    self._on_event(self._events.popleft())
            finally:
                self._delivering.release()

    # --- operations

    def operations(self) -> Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": lambda body: self._known(body).description(),
            "StopTrainingJob": self._stop,
            "ListTrainingJobs": self._list,
            "Search": self._search,
            "ListTags": self._list_tags,
            "AddTags": self._add_tags,
        }

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        arn = f"arn:aws:sagemaker:{self._region}:{self._account}:training-job/{body['TrainingJobName']}"
        job = Job(body, arn, self.now(), tags={tag["Key"]: tag["Value"] for tag in body.get("Tags", [])})
        self._check(body)
        if job.name in self.jobs:
            words = "Training job names must be unique within an AWS account and region, and a training job with this"
            raise ServiceError("ResourceInUse", f"{words} name already exists ({arn})")
        self._check_quotas(job)
        self.jobs[job.name] = job
        self._move(job, "InProgress", "Starting")
        if self._runs:
            self._instances[job.name] = Instances(job, self._region, self._logs, self._begun, self._exited)
        return {"TrainingJobArn": arn}

    def _stop(self, body: dict[str, Any]) -> dict[str, Any]:
        job = self._known(body)
        if job.status != "InProgress":
            words = f"The request was rejected because the training job is in status {job.status}."
            raise ServiceError("ValidationException", words)
        self._end(job, "Stopped")
        return {}

    def _list(self, body: dict[str, Any]) -> dict[str, Any]:
        found = [
            job.summary()
            for job in sorted(self.jobs.values(), key=lambda job: job.created, reverse=True)
            if body.get("NameContains", "") in job.name and body.get("StatusEquals", job.status) == job.status
        ]
        shown, more = page(found, body, usual=10)
        return {"TrainingJobSummaries": shown, **more}

    def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["Resource"] != "TrainingJob":
            return {"Results": []}
        records = (job.record() for job in self.jobs.values())
        found = [{"TrainingJob": each} for each in records if matches(each, body.get("SearchExpression", {}))]
        shown, more = page(found, body, usual=100)
        return {"Results": shown, **more}

    def _list_tags(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": self._of_arn(body).tag_list()}

    def _add_tags(self, body: dict[str, Any]) -> dict[str, Any]:
        job = self._of_arn(body)
        job.tags |= {tag["Key"]: tag["Value"] for tag in body["Tags"]}
        return {"Tags": job.tag_list()}

    def _known(self, body: Mapping[str, Any]) -> Job:
        job = self.jobs.get(body["TrainingJobName"])
        if job is None:
            raise ServiceError("ValidationException", _NOT_FOUND)
        self._age(job)
        return job

    def _of_arn(self, body: Mapping[str, Any]) -> Job:
        return self._known({"TrainingJobName": body["ResourceArn"].rpartition("/")[2]})

    # --- refusals

    def _check(self, body: Mapping[str, Any]) -> None:
        for field in ("ResourceConfig", "StoppingCondition", "AlgorithmSpecification"):
            if field not in body:
                raise ServiceError("ValidationException", f"{field} is required for this training job.")
        role = body["RoleArn"]
        if role in self.closed_roles:
            words = f"Could not assume role {role}. Please ensure that the role exists and allows principal"
            raise ServiceError("ValidationException", f"{words} 'sagemaker.amazonaws.com' to assume the role.")
        if image := body["AlgorithmSpecification"].get("TrainingImage"):
            self._check_image(image, role)
        for channel in body.get("InputDataConfig", []):
            self._check_input(channel.get("DataSource", {}).get("S3DataSource", {}).get("S3Uri", ""), role)

    def _check_image(self, image: str, role: str) -> None:
        found = _IMAGE.fullmatch(image)
        if image.partition("/")[0] in self.registries:
            return
        if found is None:
            words = "Invalid training image. Please provide a valid Amazon Elastic Container Registry path of the"
            raise ServiceError("ValidationException", f"{words} Docker image to run.")
        registry, region, suffix, repository = found.groups()
        if region != self._region:
            words = f"Invalid DNS suffix '{suffix}' for region '{region}' in training image. Please provide the valid"
            raise ServiceError("ValidationException", f"{words} <region>.<dns-suffix>: '{self._region}.{suffix}'")
        if image in self.missing_images:
            words = (
                f"Cannot find repository: {repository} in registry ID: {registry}. Please check if your ECR "
                f"repository and image exist and role {role} has proper pull permissions for SageMaker: "
                "ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, ecr:GetDownloadUrlForLayer"
            )
            raise ServiceError("ValidationException", words)

    def _check_input(self, place: str, role: str) -> None:
        bucket = place.removeprefix("s3://").partition("/")[0]
        if bucket in self.missing_buckets:
            words = (
                f'No S3 objects found under S3 URL "{place}" given in input data source. Please ensure that the bucket '
                f"exists in the selected region ({self._region}), that objects exist under that S3 prefix, and that "
                f'the role "{role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
            )
            raise ServiceError("ValidationException", words)

    def _check_quotas(self, job: Job) -> None:
        for kind, wanted in job.instances.items():
            if kind in self.not_offered:
                words = f"The requested resource training-job/{kind} is not available in this region"
                raise ServiceError("ResourceLimitExceeded", words)
            used = sum(each.instances.get(kind, 0) for each in self.jobs.values() if not each.over)
            if kind in self.quotas and used + wanted > self.quotas[kind]:
                words = (
                    f"The account-level service limit '{kind} for training job usage' is {self.quotas[kind]} "
                    f"Instances, with current utilization of {used} Instances and a request delta of {wanted} "
                    "Instances. Please use AWS Service Quotas to request an increase for this quota. If AWS Service "
                    "Quotas is not available, contact AWS support to request an increase for this quota."
                )
                raise ServiceError("ResourceLimitExceeded", words)

    # --- how jobs go

    def _age(self, job: Job) -> None:
        """What its clock and its StoppingCondition make of it."""
        now, condition = self.now(), job.request["StoppingCondition"]
        since = now - job.modified
        if job.status == "Stopping" and since >= self._grace and job.name not in self._instances:
            self._move(job, "Stopped", job.ending)
        if job.status != "InProgress":
            return
        if now - job.created > condition.get("MaxWaitTimeInSeconds", float("inf")):
            self._end(job, "MaxWaitTimeExceeded")
        elif job.started is not None and now - job.started > condition.get("MaxRuntimeInSeconds", 86400):
            self._end(job, "MaxRuntimeExceeded")
        elif not self._runs and job.secondary in ("Starting", "Downloading", "Restarting"):
            if job.secondary != "Downloading" and since >= self.startup:
                self._move(job, "InProgress", "Downloading")
            elif since >= self.download:
                self._move(job, "InProgress", "Training")
            else:
                return
            self._age(job)

    def _end(self, job: Job, ending: str) -> None:
        """SIGTERM, and after the grace SIGKILL. One whose code does not run yet has nothing to end."""
        begun = job.started is not None
        job.ending = ending
        self._move(job, "Stopping", "Stopping")
        if job.name in self._instances:
            self._instances[job.name].terminate(self._grace)
        elif not begun:
            self._move(job, "Stopped", ending)

    def _to_training(self, job: Job) -> None:
        for secondary in ("Downloading", "Training"):
            if job.secondary != "Training":
                self._move(job, "InProgress", secondary)

    def _begun(self, job: Job) -> None:
        with self._changing():
            if job.status == "InProgress":
                self._to_training(job)

    def _exited(self, job: Job, reason: str | None, metrics: Mapping[str, float]) -> None:
        """All its processes are over; `reason` is why it failed, None when it did not."""
        with self._changing():
            del self._instances[job.name]
            job.metrics = [{"MetricName": key, "Value": metrics[key], "Timestamp": self.now()} for key in metrics]
            if job.status == "Stopping":
                self._move(job, "Stopped", job.ending)
            elif reason is not None:
                self._move(job, "Failed", "Failed", reason)
            else:
                self._move(job, "InProgress", "Uploading")
                self._move(job, "Completed", "Completed")

    def _move(self, job: Job, status: str, secondary: str, reason: str = "") -> None:
        job.move(status, secondary, self.now(), reason)
        self._events.append(job.event(self._account, self._region))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self.lock:
            yield
        self.settled()
