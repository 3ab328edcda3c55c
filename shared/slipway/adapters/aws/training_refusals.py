"""Why SageMaker did not take a CreateTrainingJob, with its words and the cure.

It says most of it as a ValidationException with a sentence; which sentence it is decides what is to be mended.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

from __future__ import annotations

import json
import re

from slipway.errors import Invalid, Problem, Refused, SlipwayError, nearest

_TRUST = json.dumps(
    {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
)
_CURES: tuple[tuple[str, str, str], ...] = (
    (r"assume (the )?role", "RoleArn", f"The role must exist, and its trust policy must hold {_TRUST}."),
    (
        r"training image|registry ID|ECR|repository|requested image|image URI",
        "AlgorithmSpecification.TrainingImage",
        "SageMaker pulls an image from ECR in its own region, {region}: push it there, and let the role pull it "
        "(ecr:BatchGetImage, ecr:GetDownloadUrlForLayer, ecr:BatchCheckLayerAvailability).",
    ),
    (
        r"S3 URL|data source",
        "InputDataConfig",
        "The bucket must be in {region} and hold something there, and the role needs s3:ListBucket and s3:GetObject.",
    ),
    (
        r"bucket|S3OutputPath|s3OutputPath|S3 output",
        "OutputDataConfig.S3OutputPath",
        "The bucket must exist in {region}, and the role needs s3:PutObject in it.",
    ),
    (
        r"instance type|instanceType|InstanceType|training-job/ml\.",
        "ResourceConfig.InstanceType",
        "Choose a type that SageMaker offers for training in {region}: https://aws.amazon.com/sagemaker/pricing/.",
    ),
)
_PRIVATE = re.compile(r"Value '.*?' at '(environment|hyperParameters)", re.IGNORECASE | re.DOTALL)
_ENUM = re.compile(r"Value '(?P<value>[^']*)' at '[^']*' failed[^\[]*enum value set: \[(?P<known>[^\]]{100,})\]")


def of_request(code: str, words: str, region: str) -> SlipwayError | None:
    """Of an answer's code and sentence; None for what means the same in every AWS service.

    Refused: a quota is used up. Invalid: the request will never be taken as it is."""
    if code == "ResourceLimitExceeded" and "not available in this region" not in words:
        return Refused(f"SageMaker cannot start it now: {words} ({code})")
    if code in ("ValidationException", "ResourceLimitExceeded", "ResourceNotFound"):
        return Invalid(_problem(_PRIVATE.sub(r"Value *** at '\1", words), region))
    return None


def _problem(words: str, region: str) -> Problem:
    rule, fix = _without_list(f"SageMaker does not take it: {words}")
    for pattern, field, cure in _CURES:
        if re.search(pattern, words):
            cure = cure.replace("{region}", region)
            return Problem(f"resource_args.{field}", rule, fix=f"{fix} {cure}".strip())
    return Problem("resource_args", rule, fix=fix)


def _without_list(rule: str) -> tuple[str, str]:
    """A word that is none of hundreds is told with the nearest of them, in place of them all."""
    found = _ENUM.search(rule)
    if found is None:
        return rule, ""
    known = [each.strip() for each in found["known"].split(",")]
    return rule[: found.start("known")] + "..." + rule[found.end("known") :], nearest(found["value"], known)
