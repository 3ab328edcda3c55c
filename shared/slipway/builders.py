"""The `builder` section, which a queue has and a W&B launch-config has: how images are made, and where they go.

One place for both, so that what `slipway import` takes from one is what the other is checked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from slipway.documents import Reader
from slipway.errors import Problem, nearest
from slipway.model import Json
from slipway.reference import not_a_reference
from slipway.registries import broken_rule, destination, without_login

BUILDERS = ("docker", "kaniko", "buildah", "codebuild", "noop", "environment")
WANDB_BUILDERS = ("docker", "kaniko", "noop")
KANIKO_KEYS = ("build-context-store", "build-job-name", "secret-name", "secret-key", "kaniko-image", "kaniko-config")
BUILDAH_KEYS = ("buildah-image", "buildah-config")
CODEBUILD_KEYS = ("compute-type",)
KEYS = (
    *CODEBUILD_KEYS,
    *("type", "destination", "platform", "base_image", "accelerator", "cuda", "build-args", "build_args"),
    *KANIKO_KEYS,
    *BUILDAH_KEYS,
)

_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?")
_STORE = re.compile(r"(?:s3|gs)://[^/\s@]+(?:/\S*)?|https://[^./\s@]+\.blob\.core\.windows\.net/[^/\s]+(?:/\S*)?")
_KUBERNETES_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_JOB_NAME = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_SECRET_KEY = re.compile(r"[-._A-Za-z0-9]+")
_ARGUMENT = re.compile(r"--[a-z][a-z0-9-]*=.*", re.DOTALL)
_MAX_JOB_NAME = 50
"""Of the 63 characters that Kubernetes allows; the rest is for what tells one build from another."""


def read_builder(
    section: Mapping[str, Json], path: str, problems: list[Problem], *, types: Sequence[str] = BUILDERS
) -> dict[str, Json]:
    """The section as it was written, its destination without `https://`. Each broken rule joins the problems.

    W&B ignores keys that it does not know; here they are refused, for a key that does nothing hides a mistake. Values
    in which people keep passwords (build arguments, arguments and variables of kaniko) are in no message.
    """
    builder = Reader({key: value for key, value in section.items() if key != "uri"}, KEYS, path, problems)
    if "uri" in section:
        fix = "Write `destination`: W&B ignores `uri` here, although its documentation has shown it."
        builder.problem("uri", "is not a key of the builder", fix=fix)
    kind = builder.text("type")
    if kind is not None and kind not in types:
        builder.problem("type", "is not a builder", kind, nearest(kind, types))
    where = _destination(builder)
    builder.matching("platform", _PLATFORM, "must look like linux/amd64")
    _image(builder, "base_image")
    _image(builder.within("accelerator", ("base_image",)), "base_image")
    _image(builder.within("cuda", ("base_image",)), "base_image")
    _check_build_args(builder)
    _check_context_store(builder)
    _check_job_name(builder)
    _check_secret(builder)
    for flavour in ("kaniko", "buildah"):
        _image(builder, f"{flavour}-image")
        _check_fragment(builder, flavour)
    return {**section, "destination": where} if where else dict(section)


def lacks_context_store(builder: Mapping[str, Json]) -> bool:
    """Builds in a cluster read their context from a bucket. W&B's can also take it from a volume, which no section
    names."""
    return builder.get("type") in ("kaniko", "buildah") and not builder.get("build-context-store")


def _destination(builder: Reader) -> str | None:
    uri = builder.text("destination")
    if uri is None:
        return None
    if problem := broken_rule(uri, builder.at("destination")):
        builder.problems.append(problem)
        return None
    return destination(uri).address


def _image(section: Reader, field: str) -> None:
    image = section.text(field)
    if image is not None and (rule := not_a_reference(image)):
        fix = "Write it as in `docker pull`: registry.example.com/team/image:tag"
        section.problem(field, rule, without_login(image), fix)


def _check_build_args(builder: Reader) -> None:
    if builder.has("build-args") and builder.has("build_args"):
        builder.problem("build_args", "is given, and build-args too", fix="They are two words for one thing.")
    for field in ("build-args", "build_args"):
        arguments = builder.fields.get(field)
        if arguments is None:
            continue
        if not isinstance(arguments, Mapping):
            builder.problem(field, "must be a mapping of names to values")
            continue
        inside = Reader(arguments, arguments, builder.at(field), builder.problems)
        for name, value in arguments.items():
            if not name or "=" in name:
                inside.problem(name, "is not a name: it is not empty and holds no '='")
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                inside.problem(name, "must be a string or a number", fix="Put it in quotes.")


def _check_context_store(builder: Reader) -> None:
    store = builder.text("build-context-store")
    if store is None or (_STORE.fullmatch(store) and without_login(store) == store):
        return
    fix = (
        "Write s3://<bucket>/<path>, gs://<bucket>/<path> or "
        "https://<account>.blob.core.windows.net/<container>; who builds logs in on its own."
    )
    builder.problem("build-context-store", "is no address of a bucket or container", without_login(store), fix)


def _check_job_name(builder: Reader) -> None:
    name = builder.text("build-job-name")
    if name is not None and not (_JOB_NAME.fullmatch(name) and len(name) <= _MAX_JOB_NAME):
        rule = f"must be at most {_MAX_JOB_NAME} of a-z, 0-9 and '-', with a letter first and no '-' last"
        builder.problem("build-job-name", rule, name)


def _check_secret(builder: Reader) -> None:
    """The secret's name in Kubernetes and the key in it. Someone may put the secret itself there: it is not shown."""
    for field, other in (("secret-name", "secret-key"), ("secret-key", "secret-name")):
        if builder.has(field) and not builder.has(other):
            builder.problem(other, f"is missing, and {field} is given", fix="Give both or neither.")
    name, key = builder.fields.get("secret-name"), builder.fields.get("secret-key")
    if name is not None and not (isinstance(name, str) and _KUBERNETES_NAME.fullmatch(name) and len(name) <= 253):
        builder.problem("secret-name", "is not the name of a Kubernetes secret: a-z, 0-9, '-' and '.'")
    if key is not None and not (isinstance(key, str) and _SECRET_KEY.fullmatch(key) and len(key) <= 253):
        builder.problem("secret-key", "is not a key in a Kubernetes secret: letters, digits, '-', '_' and '.'")


def _check_fragment(builder: Reader, flavour: str) -> None:
    """A fragment of a Kubernetes Job. What the build itself needs of it is checked; the rest is for Kubernetes."""
    field = f"{flavour}-config"
    config = builder.mapping(field)
    inside = Reader(config, config, builder.at(field), builder.problems)
    for field in ("spec", "template", "spec"):
        nested = inside.mapping(field)
        inside = Reader(nested, nested, inside.at(field), builder.problems)
    containers = _listed(inside, "containers", "must be a list of containers")
    if len(containers) > 1:
        rule = f"are {len(containers)}, and a {flavour} build has one container"
        inside.problem("containers", rule, fix="Leave one.")
    for index, container in enumerate(containers):
        if not isinstance(container, Mapping):
            inside.problem(f"containers[{index}]", "must be a mapping")
            continue
        each = Reader(container, container, inside.at(f"containers[{index}]"), builder.problems)
        for number, argument in enumerate(_listed(each, "args", "must be a list of strings")):
            if not isinstance(argument, str) or not _ARGUMENT.fullmatch(argument):
                each.problem(f"args[{number}]", "must look like --key=value", fix='For example "--cache=false".')


def _listed(reader: Reader, field: str, rule: str) -> Sequence[Json]:
    value = reader.fields.get(field)
    if value is None or isinstance(value, list):
        return value or []
    reader.problem(field, rule)
    return []
