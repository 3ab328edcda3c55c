"""What a payload depends on beside the launch: facts of the cluster, the account or the project where it will run.

None of them is a credential. An adapter knows them of its own environment (S9); where one is not known, it is None, and
a payload that needs it is refused with what to set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CODE_IMAGE = "docker.io/alpine/git:2.36.3"
"""Has git, and busybox's wget, sha256sum and tar: what it takes to bring mounted code into a pod."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kubernetes cluster."""

    namespace: str = "default"
    """Where the queue's config names none."""
    agent: str = "slipway"
    """The value of the label wandb.ai/agent: which deployment started a run."""
    secret: str | None = None
    """A Secret, in the run's namespace, that holds the secrets of all runs and is there already. None: each run has one
    of its own, which is made for it and goes with it."""
    secret_key: str | None = None
    """The key of WANDB_API_KEY in `secret`, where that is not the variable's own name. W&B's chart has `password`."""
    code_image: str = CODE_IMAGE
    code_claim: str | None = None
    """A PersistentVolumeClaim for mounted code, None for an emptyDir of each pod."""


@dataclass(frozen=True, slots=True)
class Account:
    """An AWS account, in one region."""

    id: str | None = None
    """12 digits."""
    partition: str = "aws"
    """aws, aws-us-gov or aws-cn."""
    role: str | None = None
    """The execution role of training jobs where the queue's config names none: an ARN, or the name of a role."""
    output: str | None = None
    """s3://bucket/prefix for their output where the queue's config names none."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variable → ARN of its secret in Secrets Manager."""


@dataclass(frozen=True, slots=True)
class Project:
    """A Google Cloud project, in one region."""

    id: str | None = None
    region: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variable → its version in Secret Manager, `projects/p/secrets/s/versions/latest`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All of them; a deployment knows those of its own cloud."""

    cluster: Cluster = Cluster()
    account: Account = Account()
    project: Project = Project()
    output: str = "OUTPUT"
    """The folder of this machine that becomes the output folder of a container."""
