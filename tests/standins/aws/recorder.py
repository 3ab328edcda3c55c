"""What the functions of a deployment ask of AWS, as IAM sees it: each call's actions, on which resources.

It listens where botocore lets anybody listen, and where httpx sends, so that nothing of ours knows of it. Which right
a call needs is AWS's service authorisation reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import botocore.handlers
import httpx
import pytest
from tests.standins.aws.moto_server import ACCOUNT, REGION
from tests.standins.aws.stack import running

from slipway.render.sagemaker import ITEM_TAG

Context = Mapping[str, str]
Tags = Callable[[str], Mapping[str, str]]
"""The tags of a training job, by its name."""


class Use(NamedTuple):
    """One right that a function made use of. `context` is what IAM's conditions are held against, as pairs."""

    function: str
    action: str
    resource: str
    operation: str
    context: tuple[tuple[str, str], ...] = ()


class Recorder:
    """Of every client that is made while `monkeypatch` lasts. `tags` are those that training jobs have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tags: Tags = lambda name: {}) -> None:
        self.uses: set[Use] = set()
        self.operations: list[tuple[str, str]] = []
        """Function and operation of each call, in order."""
        self.tags = tags
        listening = [
            ("before-parameter-build.*.*", self._called),
            ("after-call.s3.GetObject", self._not_there),
        ]
        monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", [*botocore.handlers.BUILTIN_HANDLERS, *listening])
        send = httpx.HTTPTransport.handle_request

        def heard(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            self._asked(request)
            return send(transport, request)

        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", heard)

    def _called(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        service, operation = model.service_model.service_name, model.name
        if running.function:
            self.operations.append((running.function, operation))
            for action, resource, context in _needed(service, operation, params, self.tags):
                self._note(action, resource, operation, context)

    def _not_there(self, http_response: Any, context: Any = None, **_: Any) -> None:
        """Of a key that is not there S3 says so only to whoever may list the bucket.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_RequestParameters"""
        if http_response.status_code == 404 and running.function:
            bucket = context["input_params"]["Bucket"]
            self._note("s3:ListBucket", f"arn:aws:s3:::{bucket}", "GetObject of what is not there")

    def _asked(self, request: httpx.Request) -> None:
        """https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html#registry_auth_http"""
        path = request.url.path
        if running.function and path.startswith("/v2/") and "/manifests/" in path:
            self.operations.append((running.function, "HEAD manifest"))
            repository = path.removeprefix("/v2/").partition("/manifests/")[0]
            self._note("ecr:BatchGetImage", _repository(repository), "HEAD of a manifest")

    def _note(self, action: str, resource: str, operation: str, context: Context | None = None) -> None:
        self.uses.add(Use(running.function, action, resource, operation, tuple(sorted((context or {}).items()))))


_Need = tuple[str, str, Context]


def _needed(service: str, operation: str, params: Mapping[str, Any], tags: Tags) -> Iterator[_Need]:
    match service:
        case "dynamodb":
            yield from _of_dynamodb(operation, params)
        case "sqs":
            # A batch needs the right to what is in it.
            queue = params["QueueUrl"].rpartition("/")[2]
            yield f"sqs:{operation.removesuffix('Batch')}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}", {}
        case "s3":
            yield f"s3:{operation}", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}", {}
        case "sagemaker":
            yield from _of_sagemaker(operation, params, tags)
        case "codebuild":
            names = {each.partition(":")[0] for each in params.get("ids", ())} or {params["projectName"]}
            for name in names:
                yield f"codebuild:{operation}", f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/{name}", {}
        case "logs":
            where = f"{params['logGroupName']}:log-stream:{params.get('logStreamName', '')}"
            yield f"logs:{operation}", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{where}", {}
        case "eks":
            yield f"eks:{operation}", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{params['name']}", {}
        case "secretsmanager":
            yield f"secretsmanager:{operation}", params["SecretId"], {}
        case "ecr" if operation == "GetAuthorizationToken":
            yield f"ecr:{operation}", "*", {}
        case "ecr":
            for name in params.get("repositoryNames", ()) or [params["repositoryName"]]:
                yield f"ecr:{operation}", _repository(name), {}
        case _:
            raise AssertionError(f"a call of {service}, which no policy speaks of: {operation}")


def _of_dynamodb(operation: str, params: Mapping[str, Any]) -> Iterator[_Need]:
    """A transaction has no right of its own.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html"""
    if operation == "TransactWriteItems":
        for action in params["TransactItems"]:
            ((kind, inner),) = action.items()
            yield f"dynamodb:{kind}Item", _table(inner["TableName"]), {}
    elif operation == "BatchGetItem":
        for name in params["RequestItems"]:
            yield "dynamodb:BatchGetItem", _table(name), {}
    else:
        index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
        yield f"dynamodb:{operation}", _table(params["TableName"]) + index, {}


def _of_sagemaker(operation: str, params: Mapping[str, Any], tags: Tags) -> Iterator[_Need]:
    if operation == "Search":
        yield "sagemaker:Search", "*", {}
        return
    job = params.get("ResourceArn") or _job(params["TrainingJobName"])
    if operation != "CreateTrainingJob":
        yield f"sagemaker:{operation}", job, _tagged("aws:ResourceTag", tags(job.rpartition("/")[2]))
        return
    asked = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
    yield "sagemaker:CreateTrainingJob", job, _tagged("aws:RequestTag", asked)
    if asked:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/security_iam_id-based-policy-examples.html
        yield "sagemaker:AddTags", job, {"sagemaker:TaggingAction": "CreateTrainingJob"}
    # https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
    yield "iam:PassRole", params["RoleArn"], {"iam:PassedToService": "sagemaker.amazonaws.com"}
    if "VolumeKmsKeyId" in params.get("ResourceConfig", {}):
        yield "kms:CreateGrant", params["ResourceConfig"]["VolumeKmsKeyId"], {}


def _tagged(kind: str, tags: Mapping[str, str]) -> Context:
    """Of ours alone: it is the only one that a condition asks for."""
    return {f"{kind}/{ITEM_TAG}": tags[ITEM_TAG]} if ITEM_TAG in tags else {}


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"


def _job(name: str) -> str:
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{name}"


def _repository(name: str) -> str:
    return f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}"
