"""A W&B job as it is written down: the `wandb-job.json` of a job artifact, in the words of a launch spec.

`wandb job create` writes such a file, and a submission may carry one as `job`. Where the job is only named
(`entity/project/name:alias`) the file lies with W&B, and reading it there is for Slipway's W&B gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from slipway.documents import Reader
from slipway.errors import nearest
from slipway.model import Json

SOURCE_TYPES = ("repo", "artifact", "image")
_FILE = ("_version", "_partial", "source_type", "source", "input_types", "output_types", "runtime", "services")
_RUNTIME = re.compile(r"(3\.[0-9]{1,2})(\.[0-9]+\w*)?")
"""`3.11`, and `3.11.4`, which is what a job has that W&B made of a run."""
_SOURCE = ("git", "image", "artifact", "entrypoint", "notebook", "args", "dockerfile", "build_context", "base_image")


def job_fields(job: Reader) -> dict[str, Json]:
    """The job as fields of a launch spec: `uri` and `git`, or `docker`; `entry_point`, `dockerfile`, `build_context`,
    `base_image`, `python_version`. Problems go to the reader's list; a field that is none, or wrong, is left out."""
    source = job.within("source", _SOURCE)
    if source.flag("notebook"):
        fix = "Convert it (`jupyter nbconvert --to script`), and make the job of the script."
        source.problem("notebook", "is true, and a notebook is not run as it is", fix=fix)
    fields: dict[str, Json] = {**_source(job, source), "entry_point": list(source.strings("entrypoint"))}
    if "docker" not in fields:
        # An image has all of this in it already, and W&B writes the runtime of such a job down too.
        fields |= {field: source.text(field) for field in ("dockerfile", "build_context", "base_image")}
        fields["python_version"] = _runtime(job)
    return {field: value for field, value in fields.items() if value}


def read_job(reader: Reader, field: str) -> Reader:
    """The reader of the job file that a launch spec carries."""
    return reader.within(field, _FILE)


def _runtime(job: Reader) -> str | None:
    text = job.text("runtime")
    version = _RUNTIME.fullmatch(text) if text is not None else None
    if text is not None and version is None:
        job.problem("runtime", "must be a Python version such as '3.11'", text)
    return version[1] if version else None


def _source(job: Reader, source: Reader) -> Mapping[str, Json]:
    kind = job.text("source_type")
    match kind:
        case "repo":
            git = source.within("git", ("remote", "commit"))
            if not git.has("remote"):
                git.problem("remote", "is missing", fix="Name the repository.")
            return {"uri": git.text("remote"), "git": {"version": git.text("commit", 255)}}
        case "image":
            if not source.has("image"):
                source.problem("image", "is missing", fix="Name the image.")
            return {"docker": {"docker_image": source.text("image", 512)}}
        case "artifact":
            rule = "is code that lies with W&B, which only Slipway's W&B gateway can fetch"
            fix = "Give the code as uri: a git repository, or an archive of the artifact's files."
            source.problem("artifact", rule, source.fields.get("artifact"), fix)
        case None:
            if not job.has("source_type"):
                job.problem("source_type", "is missing", fix=f"It is one of {', '.join(SOURCE_TYPES)}.")
        case _:
            job.problem("source_type", "is not a kind of job", kind, nearest(kind, SOURCE_TYPES))
    return {}
