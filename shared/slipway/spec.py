"""Launch specs: what a submitter sends, in W&B's words and a few of ours, becomes a Submission or a list of problems.

The words are those of W&B's `wandb launch` (its launch spec, what is pushed on a run queue). Ours are `uri` for a git
repository or an archive with its `sha256`; `entry_point`, `build_context` and `base_image`, which W&B keeps in the
job's file; `job` may be that file, and `job_artifact` says where it came from; `priority` and `idempotency_key`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from slipway.documents import Reader, check_json, join
from slipway.errors import Invalid, Problem
from slipway.jobs import job_fields, read_job
from slipway.model import DEFAULT_PRIORITY, ArchiveSource, GitSource, ImageSource, Job, Json, Source, Submission
from slipway.reference import not_a_reference
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
    *("uri", "git", "sha256", "docker", "image_uri", "job", "entry_point", "build_context", "base_image"),
    *("dockerfile", "python_version", "resource", "resource_args", "template_variables", "priority", "overrides"),
    *("additional_services", "job_artifact"),
)
_OVERRIDES = ("args", "run_config", "entry_point", "dockerfile", "artifacts", "files", "working_dir")
_SCHEDULER = "placeholder-uri-scheduler"
"""The `uri` under which `wandb launch-sweep` puts a sweep's scheduler on a queue."""
_NOT_A_SUBMITTERS = {
    "_wandb_api_key": (
        "is a secret, and would be kept with the item",
        "Keep it in Slipway's secrets; runs get it there.",
    ),
    "_resume_count": ("is W&B's own count of preemptions", "Remove it: Slipway counts by itself."),
    "builder": ("is the queue's alone", "Remove it; the queue's owner says how images are built."),
    "registry": ("is read by no W&B agent either", "Remove it; the queue's builder.destination says where images go."),
}
"""Fields that W&B's agent writes or reads in a launch spec: the rule, and the way out. No value is shown."""
_RUN_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def parse_submission(
    document: Mapping[str, Json], *, entity: str | None = None, project: str | None = None
) -> Submission:
    """A launch spec as a Submission. `entity` and `project` stand in where it names none.

    Total: any value gives a Submission or Invalid with every problem found.
    """
    reader = _reader(document)
    reader.fields = _with_defaults(reader.fields, entity=entity, project=project)
    overrides = reader.within("overrides", _OVERRIDES)
    resource, resource_args = _resource_args(reader)
    job, overriding = _job(reader, overrides)
    submission = Submission(
        job=job,
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
        overrides_entry_point=overriding,
        working_dir=_relative(overrides, "working_dir"),
        wandb_job=reader.text("job_artifact", 512),
        additional_services=_services(reader),
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
        "job_artifact": submission.wandb_job,
        "entry_point": [] if submission.overrides_entry_point else list(job.entry_point),
        "build_context": job.build_context,
        "base_image": job.base_image,
        "python_version": job.python_version,
        "resource": submission.resource,
        "resource_args": _wrapped(submission.resource, submission.resource_args),
        "template_variables": dict(submission.template_variables),
        "priority": submission.priority,
        "overrides": _filled(
            {
                "entry_point": list(job.entry_point) if submission.overrides_entry_point else [],
                "dockerfile": job.dockerfile,
                "working_dir": submission.working_dir,
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
        "additional_services": [dict(service) for service in submission.additional_services],
    }
    if job.user_id is not None:
        document["docker"] = {**document.get("docker", {}), "user_id": job.user_id}
    return _filled(document)


def is_scheduler(document: Mapping[str, Json]) -> bool:
    """Whether a launch spec is a W&B sweep's scheduler: a process that would watch over the sweep.

    As W&B's agent tells: the placeholder is its source, and on `local-process` a job, or the command `wandb scheduler`.
    """
    if document.get("uri") != _SCHEDULER:
        return False
    if document.get("resource") != "local-process" or document.get("job"):
        return True
    overrides = document.get("overrides")
    command = overrides.get("entry_point") if isinstance(overrides, Mapping) else None
    return isinstance(command, list) and len(command) > 2 and command[:2] == ["wandb", "scheduler"]


def _reader(document: Mapping[str, Json]) -> Reader:
    """Of the document, a job file that it carries spelled out. Raises Invalid for what is no launch spec at all."""
    check_json(document)
    if not isinstance(document, Mapping):
        raise Invalid(Problem("document", "must be a mapping of fields to values", document))
    problems = [
        Problem(field, rule, fix=fix)
        for field, (rule, fix) in _NOT_A_SUBMITTERS.items()
        if document.get(field) not in (None, {}, 0)
    ]
    rest = {field: value for field, value in document.items() if field not in _NOT_A_SUBMITTERS}
    reader = Reader(rest, _FIELDS, "", problems)
    job = rest.get("job")
    sources = [field for field in ("uri", "image_uri") if reader.has(field)]
    if isinstance(rest.get("docker"), Mapping) and rest["docker"].get("docker_image"):
        sources.append("docker.docker_image")
    if job is not None and sources:
        reader.problem("job", f"is given, and {sources[0]} too", fix="A job has one source: remove all but one.")
    elif isinstance(job, Mapping):
        given = {field: value for field, value in rest.items() if field != "job" and value not in (None, {}, [], "")}
        reader.fields = {**job_fields(read_job(reader, "job")), **given}
    elif job is not None:
        rule = "names a W&B job, whose file lies with W&B and which only Slipway's W&B gateway can read"
        fix = "Give the job's file (wandb-job.json) as job, or its code as uri, or its image as docker.docker_image."
        reader.problem("job", rule, job, fix)
    return reader


def _services(reader: Reader) -> tuple[Mapping[str, Json], ...]:
    """`[{name, config: manifest}]`, as W&B has it."""
    services = reader.fields.get("additional_services") or []
    if not isinstance(services, list):
        reader.problem("additional_services", "must be a list of manifests, each as config", services)
        return ()
    found = []
    for index, service in enumerate(services):
        where = f"additional_services[{index}]"
        if not isinstance(service, Mapping) or not isinstance(service.get("config"), Mapping):
            reader.problem(where, "must be a mapping with the manifest as config", service)
            continue
        Reader(service, ("name", "config"), reader.at(where), reader.problems).text("name")
        found.append(service)
    return tuple(found)


def _with_defaults(fields: Mapping[str, Json], **defaults: str | None) -> Mapping[str, Json]:
    return {**fields, **{field: value for field, value in defaults.items() if fields.get(field) is None}}


def _resource_args(reader: Reader) -> tuple[str | None, Mapping[str, Json]]:
    resource = read_resource(reader)
    named, args = unwrap(reader.mapping("resource_args"), "resource_args", reader.problems)
    if resource and named and resource != named:
        reader.problem("resource_args", f"is for {named}, and resource is {resource}", fix="Make them the same.")
    return resource or named, args


def _job(reader: Reader, overrides: Reader) -> tuple[Job, bool]:
    """The job, and whether its entry point is the submission's own word. An empty list of words is none."""
    git = reader.within("git", ("version",))
    docker = reader.within("docker", ("docker_image", "user_id"))
    version = git.text("version", 255)
    source = _source(reader, docker, version)
    if isinstance(source, ImageSource):
        for owner, field in (
            *((overrides, "dockerfile"), (overrides, "working_dir"), (reader, "build_context")),
            *((reader, "base_image"), (reader, "python_version"), (reader, "dockerfile")),
        ):
            if owner.has(field) and not reader.has("job"):
                owner.problem(field, "says how to build an image, and the image is given", fix="Remove one of the two.")
    if version is not None and isinstance(source, ImageSource | ArchiveSource):
        git.problem("version", "is for git repositories, and no git repository is given", version, "Remove it.")
    given, jobs = _entry_point(overrides), _entry_point(reader)
    job = Job(
        # The stand-in is never seen: where there is no usable source there is a problem, and `finish` raises.
        source=source or ImageSource(""),
        entry_point=given or jobs,
        dockerfile=_relative(overrides, "dockerfile") or _relative(reader, "dockerfile"),
        build_context=_relative(reader, "build_context"),
        python_version=reader.matching("python_version", _PYTHON, "must be a Python version such as '3.11'"),
        base_image=_base_image(reader),
        user_id=_user_id(docker),
    )
    return job, bool(given) or not jobs


def _base_image(reader: Reader) -> str | None:
    image = reader.text("base_image", 512)
    if image is not None and (rule := not_a_reference(image)):
        reader.problem("base_image", rule, image, "Write it as in `docker pull`: registry.example.com/team/image:tag")
    return image


def _user_id(docker: Reader) -> int | None:
    value = docker.fields.get("user_id")
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31):
        return value
    docker.problem("user_id", "must be a user's number, and not root's", value, "Leave it out for 1000.")
    return None


def _source(reader: Reader, docker: Reader, version: str | None) -> Source | None:
    """Where the code comes from; None, with a problem, where that cannot be said."""
    image = _image(reader, docker)
    if reader.has("uri") and image is not None:
        reader.problem("uri", "is given, and an image too", fix="A job has a source or an image: remove one of them.")
    if is_scheduler(reader.fields):
        rule = "is a W&B sweep's scheduler: a process that would hold a slot for as long as the sweep lasts"
        reader.problem("uri", rule, fix="Slipway needs none: a sweep is stepped when one of its runs ends.")
        return None
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


def _image(reader: Reader, docker: Reader) -> str | None:
    """The image, "" for one that cannot be used, None where none is given. W&B writes `docker: {}` then."""
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
