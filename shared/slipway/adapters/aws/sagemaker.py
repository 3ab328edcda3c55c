"""Runs as SageMaker training jobs (S17): one CreateTrainingJob for each attempt, under a name that it keeps for ever.

Whose job one is, its tags say: a name may be somebody else's, and the queue's config may choose it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from slipway.adapters.aws import training_logs
from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.failures import code_of, translated, words_of
from slipway.adapters.aws.training_refusals import of_request
from slipway.errors import AlreadyExists, Temporary
from slipway.model import Json, Launch, RunPhase, RunRef, RunStatus
from slipway.render.sagemaker import ATTEMPT_TAG, ITEM_TAG, request
from slipway.render.surroundings import Account
from slipway.status.sagemaker import run_status

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import SearchExpressionTypeDef

_LIVE: SearchExpressionTypeDef = {
    # Every job of ours has this tag beside those that name its item. Their names have a dot, and what Search makes of a
    # dot in a tag's name is not documented.
    "Filters": [{"Name": "Tags.WandbRunId", "Operator": "Exists"}],
    "SubExpressions": [
        {
            "Filters": [
                {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "InProgress"},
                {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "Stopping"},
            ],
            "Operator": "Or",
        }
    ],
}
_UNKNOWN = "Requested resource not found"
"""How SageMaker says that there is no such job: a ValidationException, and not the ResourceNotFound of its model.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html"""
_OVER = "the training job is in status"


class SageMakerTarget:
    """`account` says what the queue's config leaves open. `look_again` is as of the port: where SageMaker's events
    arrive, minutes are soon enough. `pause` is the time between two looks for more of a log, in seconds."""

    start_lease = 120.0

    def __init__(self, clients: Clients, account: Account, *, look_again: float = 60.0, pause: float = 2.0) -> None:
        self._clients = clients
        self._account = account
        self.look_again = look_again
        self._pause = pause

    def start(self, launch: Launch) -> RunStatus:
        asked, warnings = request(launch, self._account)
        name = asked["TrainingJobName"]
        if not self._created(asked):
            return self._adopted(name, launch.run)
        return RunStatus(RunPhase.STARTING, "", name, warnings=warnings)

    def status(self, run: RunRef) -> RunStatus:
        job = self._job(run)
        return RunStatus(RunPhase.ABSENT) if job is None else run_status(job)

    def live(self) -> Sequence[RunRef]:
        pages = self._clients.sagemaker.get_paginator("search")
        with translated("list the training jobs"):
            found = pages.paginate(Resource="TrainingJob", SearchExpression=_LIVE)
            jobs = [each["TrainingJob"] for page in found for each in page["Results"]]
        return [run for run in map(_run, jobs) if run is not None]

    def stop(self, run: RunRef) -> None:
        name = run.backend_id
        if name is None:
            job = self._job(run)
            name = None if job is None else job["TrainingJobName"]
        if name is not None:
            self._stop(name)

    def logs(self, run: RunRef, follow: bool = False) -> Iterator[str]:
        job = self._job(run)
        if job is None:
            return iter(())
        name, several = job["TrainingJobName"], _instances(job) > 1
        if not follow:
            return training_logs.lines(self._clients, name, several=several)
        over = partial(self._over, replace(run, backend_id=name))
        return training_logs.followed(self._clients, name, several=several, over=over, pause=self._pause)

    def _created(self, asked: Mapping[str, Json]) -> bool:
        """False where there is a job of this name already."""
        from botocore.exceptions import ClientError

        with translated(f"start the training job {asked['TrainingJobName']}"):
            client = self._clients.sagemaker
            try:
                client.create_training_job(**asked)
            except ClientError as error:
                if code_of(error) == "ResourceInUse":
                    return False
                refusal = of_request(code_of(error), words_of(error), client.meta.region_name)
                if refusal is not None:
                    raise refusal from error
                raise
        return True

    def _adopted(self, name: str, run: RunRef) -> RunStatus:
        """Ours where an earlier call of `start` took effect, although nobody heard of it."""
        job = self._described(name)
        if job is None:
            raise Temporary(f"SageMaker has a training job named {name}, and does not show it yet", retry_after=5.0)
        if not self._is_of(job, run):
            cure = "Leave TrainingJobName out of the queue's config, or put ${run_id} in it"
            raise AlreadyExists(f"a training job named {name} exists and is not this run's. {cure}")
        return run_status(job)

    def _job(self, run: RunRef) -> Mapping[str, Any] | None:
        """Where no name is known, `start` has not come to an end, and a job of our name may be anyone's.

        A name that the queue's config chose is not looked for then: the next `start` meets it, and so does `live`."""
        job = self._described(run.backend_id or run.name)
        return job if job is None or run.backend_id is not None or self._is_of(job, run) else None

    def _described(self, name: str) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        with translated(f"look at the training job {name}"):
            try:
                return self._clients.sagemaker.describe_training_job(TrainingJobName=name)
            except ClientError as error:
                if _UNKNOWN in words_of(error) or code_of(error) == "ResourceNotFound":
                    return None
                raise

    def _is_of(self, job: Mapping[str, Any], run: RunRef) -> bool:
        pages = self._clients.sagemaker.get_paginator("list_tags")
        with translated(f"read the tags of the training job {job['TrainingJobName']}"):
            found = pages.paginate(ResourceArn=job["TrainingJobArn"])
            tags = {tag["Key"]: tag["Value"] for page in found for tag in page["Tags"]}
        return (tags.get(ITEM_TAG), tags.get(ATTEMPT_TAG)) == (run.item_id, str(run.attempt))

    def _stop(self, name: str) -> None:
        from botocore.exceptions import ClientError

        with translated(f"stop the training job {name}"):
            try:
                self._clients.sagemaker.stop_training_job(TrainingJobName=name)
            except ClientError as error:
                stopped = any(words in words_of(error) for words in (_UNKNOWN, _OVER))
                if not stopped and code_of(error) != "ResourceNotFound":
                    raise

    def _over(self, run: RunRef) -> bool:
        return self.status(run).phase not in (RunPhase.STARTING, RunPhase.RUNNING)


def _run(job: Mapping[str, Any]) -> RunRef | None:
    """Whose run it is, of a result of Search; None of a job that only has one of our tags."""
    tags = {tag["Key"]: tag["Value"] for tag in job.get("Tags", [])}
    item, attempt = tags.get(ITEM_TAG), tags.get(ATTEMPT_TAG, "")
    return RunRef(item, int(attempt), job["TrainingJobName"]) if item and attempt.isdecimal() else None


def _instances(job: Mapping[str, Any]) -> int:
    config = job.get("ResourceConfig") or {}
    groups = config.get("InstanceGroups") or [config]
    return sum(group.get("InstanceCount", 1) for group in groups)
