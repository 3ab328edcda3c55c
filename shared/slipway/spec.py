"""Launch specs: what a submitter sends, in W&B's words and a few of ours, becomes a Submission or a list of problems.

The words are those of W&B's `wandb launch` (its launch spec, what is pushed on a run queue). Ours are `uri` for a git
repository or an archive with its `sha256`, `build_context`, `priority` and `idempotency_key`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from slipway.documents import Reader, join
from slipway.errors import Problem
from slipway.model import DEFAULT_PRIORITY, ArchiveSource, GitSource, ImageSource, Job, Json, Source, Submission
from slipway.resources import read_resource, unwrap

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
"""A uri whose path ends in one of these is an archive; any other is a git repository."""
PRIORITIES = {"critical": 0, "high": 1, "medium": 2, "low": 3}
ENTITY_LENGTH = QUEUE_LENGTH = 64
PROJECT_LENGTH = NAME_LENGTH = 128
MAX_ARTIFACTS = 32670
"""Characters of `overrides.artifacts` as JSON: it travels in one environment variable, which W&B never splits."""

_FIELDS = (
    *("entity", "project", "queue", "queue_entity", "name", "run_id", "author", "sweep_id", "idempotency_key"),
    *("uri", "git", "sha256", "docker", "image_uri", "job", "build_context", "python_version"),
    *("resource", "resource_args", "template_variables", "priority", "overrides"),
)
_OVERRIDES = ("args", "run_config", "entry_point", "dockerfile", "artifacts", "files")
_RUN_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def parse_submission(
    document: Mapping[str, Json], *, entity: str | None = None, project: str | None = None
) -> Submission:
    """A launch spec as a Submission. `entity` and `project` stand in where it names none.

    Total: any value gives a Submission or Invalid with every problem found.
    """
    reader = Reader.of(document, _FIELDS)
    reader.fields = _with_defaults(reader.fields, entity=entity, project=project)
    overrides = reader.within("overrides", _OVERRIDES)
    resource, resource_args = _resource_args(reader)
    submission = Submission(
        job=_job(reader, overrides),
        queue=reader.required("queue", QUEUE_LENGTH, "Name the queue to submit to."),
        entity=reader.required("entity", ENTITY_LENGTH, "Name the team or person the run belongs to."),
        project=reader.required("project", PROJECT_LENGTH, "Name the project the run belongs to."),
        queue_entity=reader.name("queue_entity", ENTITY_LENGTH),
        name=reader.text("name", NAME_LENGTH),
        run_id=reader.matching("run_id", _RUN_ID, "must be 1 to 64 of a-z, 0-9, - and _, the first a letter or digit"),
        author=reader.text("author", NAME_LENGTH),
        sweep_id=reader.name("sweep_id", NAME_LENGTH),
        resource=resource,
        resource_args=resource_args,
        template_variables=reader.mapping("template_variables"),
        priority=_priority(reader),
        args=overrides.strings("args"),
        run_config=overrides.mapping("run_config"),
        artifacts=_artifacts(overrides),
        files=_files(overrides),
        idempotency_key=reader.text("idempotency_key", 255),
    )
    reader.finish()
    return submission


def submission_document(submission: Submission) -> dict[str, Json]:
    """The launch spec that parses to this Submission again, without the fields that are empty."""
    job = submission.job
    document: dict[str, Json] = {
        "entity": submission.entity,
        "project": submission.project,
        "queue": submission.queue,
        "queue_entity": submission.queue_entity,
        "name": submission.name,
        **_source_document(job.source),
        "build_context": job.build_context,
        "python_version": job.python_version,
        "resource": submission.resource,
        "resource_args": _wrapped(submission.resource, submission.resource_args),
        "template_variables": dict(submission.template_variables),
        "priority": submission.priority,
        "overrides": _filled(
            {
                "entry_point": list(job.entry_point),
                "dockerfile": job.dockerfile,
                "args": list(submission.args),
                "run_config": dict(submission.run_config),
                "artifacts": dict(submission.artifacts),
                "files": dict(submission.files),
            }
        ),
        "run_id": submission.run_id,
        "author": submission.author,
        "sweep_id": submission.sweep_id,
        "idempotency_key": submission.idempotency_key,
    }
    return _filled(document)


def _with_defaults(fields: Mapping[str, Json], **defaults: str | None) -> Mapping[str, Json]:
    return {**fields, **{field: value for field, value in defaults.items() if fields.get(field) is None}}


def _resource_args(reader: Reader) -> tuple[str | None, Mapping[str, Json]]:
    resource = read_resource(reader)
    named, args = unwrap(reader.mapping("resource_args"), "resource_args", reader.problems)
    if resource and named and resource != named:
        reader.problem("resource_args", f"is for {named}, and resource is {resource}", fix="Make them the same.")
    return resource or named, args


def _job(reader: Reader, overrides: Reader) -> Job:
    git = reader.within("git", ("version",))
    version = git.text("version", 255)
    source = _source(reader, version)
    if isinstance(source, ImageSource):
        for owner, field in ((overrides, "dockerfile"), (reader, "build_context"), (reader, "python_version")):
            if owner.has(field):
                owner.problem(field, "says how to build an image, and the image is given", fix="Remove one of the two.")
    if version is not None and isinstance(source, ImageSource | ArchiveSource):
        git.problem("version", "is for git repositories, and no git repository is given", version, "Remove it.")
    return Job(
        # The stand-in is never seen: where there is no usable source there is a problem, and `finish` raises.
        source=source or ImageSource(""),
        entry_point=_entry_point(overrides),
        dockerfile=_relative(overrides, "dockerfile"),
        build_context=_relative(reader, "build_context"),
        python_version=reader.matching("python_version", _PYTHON, "must be a Python version such as '3.11'"),
    )


def _source(reader: Reader, version: str | None) -> Source | None:
    """Where the code comes from; None, with a problem, where that cannot be said."""
    image = _image(reader)
    if reader.has("job"):
        rule = "is a W&B job artifact, which only submissions through Slipway's W&B gateway can name"
        fix = "Give the job's code as uri, or its image as docker.docker_image."
        reader.problem("job", rule, reader.fields["job"], fix)
    if reader.has("uri") and image is not None:
        reader.problem("uri", "is given, and an image too", fix="A job has a source or an image: remove one of them.")
    if not (reader.has("uri") or reader.has("job") or image is not None):
        fix = "Give uri (a git repository or an archive) or docker.docker_image."
        reader.problem("uri", "is missing, and an image too", fix=fix)
    if not reader.has("uri"):
        _no_digest(reader)
        return ImageSource(image) if image else None
    uri = _uri(reader)
    if uri is None:
        return None
    if urlsplit(uri).path.lower().endswith(ARCHIVES):
        return _archive(reader, uri)
    _no_digest(reader)
    return GitSource(uri, version)


def _image(reader: Reader) -> str | None:
    """The image, "" for one that cannot be used, None where none is given. W&B writes `docker: {}` then."""
    docker = reader.within("docker", ("docker_image",))
    images = [
        (owner, field, owner.text(field, 512))
        for owner, field in ((docker, "docker_image"), (reader, "image_uri"))
        if owner.has(field)
    ]
    for owner, field, image in images:
        if image is not None and (re.search(r"\s", image) or image.startswith("-")):
            owner.problem(field, "is not an image reference", image)
    if len({image for _, _, image in images if image}) > 1:
        reader.problem("image_uri", "is not the same as docker.docker_image", images[1][2], "Give one of them.")
    return images[0][2] or "" if images else None


def _uri(reader: Reader) -> str | None:
    uri = reader.text("uri")
    if uri is None:
        return None
    try:
        parts = urlsplit(uri)
        secret = parts.password or (parts.scheme in ("http", "https") and parts.username)
    except ValueError as error:
        reader.problem("uri", f"is not a URL: {error}")
        return None
    if secret:
        # The value stays out of the message too.
        rule = "contains a password or a token, which would be kept with the item"
        reader.problem("uri", rule, fix="Give the uri without it, and the credentials to Slipway.")
        return None
    if uri.startswith("-") or uri != uri.strip():
        reader.problem("uri", "begins with a hyphen, or begins or ends with a space", uri, "Give a URL or a path.")
        return None
    return uri


def _archive(reader: Reader, uri: str) -> ArchiveSource:
    digest = reader.matching("sha256", _SHA256, "must be 64 hexadecimal digits")
    bare, _, fragment = uri.partition("#sha256=")
    if fragment and not _SHA256.fullmatch(fragment):
        reader.problem("uri", "has a #sha256= that is not 64 hexadecimal digits", fragment)
    elif fragment and digest and fragment.lower() != digest.lower():
        reader.problem("sha256", "is not the same as the #sha256= of uri", digest, "Give one of them.")
    if not (fragment or reader.has("sha256")) and urlsplit(uri).scheme in ("http", "https"):
        fix = "Give the output of `sha256sum FILE`, so that the same submission always runs the same code."
        reader.problem("sha256", "is missing for an archive that is downloaded", fix=fix)
    return ArchiveSource(bare, (digest or fragment).lower() or None)


def _no_digest(reader: Reader) -> None:
    if reader.has("sha256"):
        fix = "Remove it; a commit goes into git.version."
        reader.problem("sha256", "is for archives, and no archive is given", reader.fields["sha256"], fix)


def _entry_point(overrides: Reader) -> tuple[str, ...]:
    """A list of strings, or one string in the shell's notation."""
    value = overrides.fields.get("entry_point")
    if not isinstance(value, str):
        words = overrides.strings("entry_point")
    elif "\0" in value:
        overrides.problem("entry_point", "contains a NUL character", value)
        return ()
    else:
        try:
            words = tuple(shlex.split(value))
        except ValueError as error:
            overrides.problem("entry_point", f"cannot be split into words: {error}", value, "Give a list of strings.")
            return ()
    if words and not words[0].strip():
        overrides.problem("entry_point[0]", "is empty", fix="Name the program to run.")
    return words


def _relative(reader: Reader, field: str) -> str | None:
    value = reader.text(field)
    if value is not None and (rule := _not_inside(value)):
        reader.problem(field, rule, value, "Give a path relative to the root of the source.")
    return value


def _files(overrides: Reader) -> Mapping[str, Json]:
    files = overrides.mapping("files")
    for path, content in files.items():
        where = join(overrides.at("files"), path)
        if rule := _not_inside(path):
            overrides.problems.append(Problem(where, rule, path, "Give a path relative to the root of the source."))
        if not isinstance(content, Mapping):
            overrides.problems.append(Problem(where, "must be a mapping of the values to change", content))
    return files


def _artifacts(overrides: Reader) -> Mapping[str, Json]:
    artifacts = overrides.mapping("artifacts")
    if len(json.dumps(artifacts)) > MAX_ARTIFACTS:
        overrides.problem(
            "artifacts", f"is longer than {MAX_ARTIFACTS} characters as JSON", fix="Name fewer artifacts."
        )
    return artifacts


def _not_inside(path: str) -> str:
    if path.startswith(("/", "~")):
        return "is not relative"
    if ".." in PurePosixPath(path).parts:
        return "leaves the source"
    return "" if path.strip() else "is empty"


def _priority(reader: Reader) -> int:
    """0 (first) to 3, as a number, a numeral or W&B's word for it."""
    value = reader.fields.get("priority")
    if value is None:
        return DEFAULT_PRIORITY
    words = {**PRIORITIES, **{str(number): number for number in PRIORITIES.values()}}
    known = words.get(value.strip().lower()) if isinstance(value, str) else value
    if isinstance(known, int) and not isinstance(known, bool) and known in PRIORITIES.values():
        return known
    fix = "Lower numbers run first, on a queue with prioritization."
    reader.problem("priority", "must be 0 to 3, or critical, high, medium or low", value, fix)
    return DEFAULT_PRIORITY


def _source_document(source: Source) -> dict[str, Json]:
    match source:
        case GitSource(uri, version):
            return {"uri": uri, "git": _filled({"version": version})}
        case ArchiveSource(uri, sha256):
            return {"uri": uri, "sha256": sha256}
        case ImageSource(image):
            return {"docker": {"docker_image": image}}


def _wrapped(resource: str | None, args: Mapping[str, Json]) -> dict[str, Json]:
    return {resource: dict(args)} if resource and args else dict(args)


def _filled(fields: Mapping[str, Json]) -> dict[str, Json]:
    return {field: value for field, value in fields.items() if value not in (None, {}, [])}
