"""Where built images are pushed: the address of a repository, told apart by registry, and the rule that it breaks.

Every registry speaks the same protocol, so any of them is taken. The clouds' own are known by name because their
addresses have parts (account, region, project) that permissions are made for, and that are easy to forget.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from slipway.errors import Problem
from slipway.reference import not_a_reference


class Kind(StrEnum):
    """Whose registry it is; in W&B Launch's words where it has one."""

    ECR = "ecr"
    ACR = "acr"
    GAR = "gcr"
    """Google Artifact Registry. W&B calls it by the name of the registry that it replaced."""
    OTHER = "oci"
    """Any other registry that speaks the OCI distribution protocol; Docker Hub is one."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A repository that images are pushed to. None where the registry's addresses have no such part, "" where this
    address leaves it out."""

    kind: Kind
    address: str
    """Without `https://`, and without a slash at its end."""
    host: str
    repository: str
    """Below the host; of Artifact Registry, below the project."""
    tag: str | None = None
    """What stands after the repository and must not: `:tag`, `@digest`, or both."""
    account: str | None = None
    """ECR's AWS account, or ACR's name."""
    region: str | None = None
    project: str | None = None
    image: str | None = None
    """Artifact Registry's last part. What it calls repository holds many images."""


_ECR = re.compile(r"(?P<account>[\w-]+)\.dkr\.ecr(?:-fips)?\.(?P<region>[\w-]+)\.amazonaws\.com(?:\.cn)?")
_ECR_WITHOUT_DKR = re.compile(r"(?P<account>[\w-]+)\.ecr\.(?P<region>[\w-]+)\.amazonaws\.com(?:\.cn)?")
_ECR_ARN = re.compile(r"arn:[\w-]+:ecr:(?P<region>[\w-]*):(?P<account>\d*):repository/(?P<repository>.+)")
_ACR = re.compile(r"(?P<account>[\w-]+)\.azurecr\.(?:io|cn|us)")
_GAR = re.compile(r"(?P<region>[\w-]+)-docker\.pkg\.dev", re.IGNORECASE)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_LOGIN = re.compile(r"(?:^|(?<=//))[^/]*@(?=[^/]*/)")

FORMATS = {
    Kind.ECR: "<account>.dkr.ecr.<region>.amazonaws.com/<repository>",
    Kind.ACR: "<registry>.azurecr.io/<repository>",
    Kind.GAR: "<region>-docker.pkg.dev/<project>/<repository>/<image>",
    Kind.OTHER: "registry.example.com/team/jobs",
}
"""What an address looks like, for messages."""


def destination(uri: str) -> Destination:
    """The address taken apart. Total: what breaks a rule is taken apart as far as it goes; `broken_rule` says so."""
    address = uri.removeprefix("https://").rstrip("/")
    host, _, path = address.partition("/")
    name = re.split(r"[:@]", path, maxsplit=1)[0]
    tag = path[len(name) :].removeprefix(":") or None
    name = name.rstrip("/")
    if match := _ECR.fullmatch(host):
        return Destination(Kind.ECR, address, host, name, tag, match["account"], match["region"])
    if match := _ACR.fullmatch(host):
        return Destination(Kind.ACR, address, host, name, tag, match["account"])
    if match := _GAR.fullmatch(host):
        project, _, rest = name.partition("/")
        repository, _, image = rest.partition("/")
        region = match["region"].lower()
        return Destination(Kind.GAR, address, host, repository, tag, None, region, project, image)
    return Destination(Kind.OTHER, address, host, name, tag)


def broken_rule(uri: str, field: str) -> Problem | None:
    """The rule that an address breaks as a destination of images, None where it keeps them all.

    A login that stands in the address is never shown.
    """
    parts = destination(uri)
    shape = f"Write {FORMATS[parts.kind]}, with https:// before it or nothing."
    if without_login(uri) != uri:
        fix = "Take them out and log in where images are built, with `docker login` or a credential helper."
        return Problem(field, "has a user name or password in it", without_login(uri), fix)
    if arn := _ECR_ARN.fullmatch(uri):
        fix = f"Write {arn['account']}.dkr.ecr.{arn['region']}.amazonaws.com/{arn['repository']}."
        return Problem(field, "is the ARN of a repository, and not its address", uri, fix)
    if (scheme := _SCHEME.match(parts.address)) is not None:
        return Problem(field, f"begins with {scheme['scheme']}://", uri, shape)
    if parts.tag is not None:
        fix = "Remove it: each image gets a tag of its own, the hash of its source."
        return Problem(field, f"has a tag or digest, '{parts.tag}', and is where images are pushed", uri, fix)
    if parts.kind is Kind.GAR and not parts.image:
        return Problem(field, "names no image, which an address in Artifact Registry needs", uri, shape)
    if parts.kind in (Kind.ECR, Kind.ACR) and not parts.repository:
        return Problem(field, "names no repository", uri, shape)
    if rule := not_a_reference(parts.address):
        return Problem(field, rule, uri, f"{shape} A repository is in lower case.")
    return None


def remark(parts: Destination) -> str:
    """What a person should know of an address that is taken although nothing is known of its registry; "" for none."""
    if parts.kind is not Kind.OTHER:
        return ""
    if match := _ECR_WITHOUT_DKR.fullmatch(parts.host):
        right = f"{match['account']}.dkr.ecr.{match['region']}.amazonaws.com"
        return f"'{parts.host}' looks like ECR without its 'dkr': did you mean {right}?"
    return f"'{parts.host}' is none of the clouds' registries: see to it that whoever builds may push there."


def without_login(uri: str) -> str:
    """The same address, with what stands before an `@` in its host hidden."""
    return _LOGIN.sub("…@", uri)
