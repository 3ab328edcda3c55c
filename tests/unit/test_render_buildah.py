"""A build as a Job that runs buildah: as little privilege as it takes, and the owner's word over it (S12)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schemas.kubernetes_schemas import check_all
from tests.unit.documents import problems_of

from slipway.render.build_job import Place
from slipway.render.buildah import CAPABILITIES, FLAVOUR, IMAGE, beside, job

REGISTRY = "registry.example.com/train:abc"


def built(
    config: Any = None, place: Place = Place(), image: str = REGISTRY, context: str = "s3://b/c.tar.gz", **more: Any
) -> Any:
    return job(name="build-1", context=context, image=image, config=config or {}, place=place, **more)


def container(*given: Any, **more: Any) -> dict[str, Any]:
    (one,) = built(*given, **more)["spec"]["template"]["spec"]["containers"]
    return dict(one)


def fragment(pod: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    return {"buildah-config": {"spec": {"template": {"spec": {"containers": [container], **(pod or {})}}}}}


def volumes(*given: Any, **more: Any) -> dict[str, Any]:
    """Name → volume and where it is mounted."""
    pod = built(*given, **more)["spec"]["template"]["spec"]
    mounted = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    return {each["name"]: (each, mounted[each["name"]]) for each in pod["volumes"]}


def test_it_runs_as_root_of_its_own_container_and_has_three_capabilities() -> None:
    one = container()
    assert (one["name"], one["image"]) == ("wandb-container-build", IMAGE)
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["SETFCAP", "SETGID", "SETUID"]},
        "runAsUser": 0,
    }
    assert list(CAPABILITIES) == one["securityContext"]["capabilities"]["add"]


def test_no_word_of_a_build_is_read_by_a_shell() -> None:
    odd = {"A": "$(reboot); `id` \"' &", "B": ""}
    one = container(build_args=odd)
    assert one["command"] == container()["command"]
    assert one["args"][-2:] == [f"--build-arg=A={odd['A']}", "--build-arg=B="]
    assert one["args"][:2] == ["s3://b/c.tar.gz", REGISTRY]


@pytest.mark.parametrize(
    ("image", "verified"),
    [
        (REGISTRY, True),
        ("127.0.0.1.example.com/a:1", True),
        ("localhost.example.com:5000/a:1", True),
        ("10.0.0.1:5000/a:1", True),
        ("127.0.0.1:5000/a:1", False),
        ("localhost:5000/a:1", False),
        ("[::1]:5000/a:1", False),
    ],
)
def test_a_registry_need_prove_who_it_is_unless_it_is_on_loopback(image: str, verified: bool) -> None:
    assert f"--tls-verify={str(verified).lower()}" in container(image=image)["args"]


def test_a_context_in_a_bucket_is_read_by_a_right_in_the_jobs_own_secret() -> None:
    volume, folder = volumes()["right"]
    assert volume["secret"] == {"secretName": "build-1", "items": [{"key": "context", "path": "context"}]}
    assert f"{folder}/context" in container()["command"][2]


def test_a_context_on_a_claim_takes_no_right() -> None:
    found = volumes({}, Place(claim="contexts"), context="tar:///context/contexts/a.tar.gz")
    assert "right" not in found
    assert found["kaniko-pvc"][1] == "/context"


@pytest.mark.parametrize(
    ("config", "place", "secret", "key"),
    [
        ({}, Place(docker_config="login"), "login", ".dockerconfigjson"),
        ({"secret-name": "mine", "secret-key": "auth"}, Place(), "mine", "auth"),
        ({"secret-name": "mine", "secret-key": "auth"}, Place(docker_config="login"), "login", ".dockerconfigjson"),
    ],
)
def test_a_login_is_a_docker_config_of_a_secret(config: Any, place: Place, secret: str, key: str) -> None:
    volume, folder = volumes(config, place)["login"]
    assert volume["secret"] == {"secretName": secret, "items": [{"key": key, "path": "config.json"}]}
    assert {"name": "REGISTRY_AUTH_FILE", "value": f"{folder}/config.json"} in container(config, place)["env"]


def test_without_a_login_it_looks_for_none() -> None:
    assert "login" not in volumes()
    assert "REGISTRY_AUTH_FILE" not in {each["name"] for each in container()["env"]}
    assert beside("build-1", {}, Place(), "registry.example.com") == ()


def test_what_the_owner_says_goes_over_the_defaults() -> None:
    given = fragment(
        {"hostNetwork": True, "activeDeadlineSeconds": 60},
        args=["--format=oci", "--layers=true"],
        env=[{"name": "A", "value": "b"}],
        securityContext={"privileged": True},
    )
    body = built({**given, "buildah-image": "mirror.example.com/buildah:1"}, platform="linux/arm64")
    pod = body["spec"]["template"]["spec"]
    (one,) = pod["containers"]
    assert (pod["hostNetwork"], pod["activeDeadlineSeconds"]) == (True, 60)
    assert (one["image"], one["securityContext"]) == ("mirror.example.com/buildah:1", {"privileged": True})
    assert one["env"][0] == {"name": "A", "value": "b"}
    assert one["args"][3:] == ["--format=oci", "--platform=linux/arm64", "--layers=true"]


def test_settings_that_do_not_go_together_are_told_at_once() -> None:
    config = {
        "secret-name": "push",
        "buildah-config": {"spec": {"template": {"spec": {"containers": [{"args": ["-q"]}, {}]}}}},
    }
    assert problems_of(lambda: built(config)).keys() == {
        "builder.secret-name",
        "builder.buildah-config.spec.template.spec.containers",
        "builder.buildah-config",
    }


places = st.builds(Place, claim=st.sampled_from([None, "c"]), docker_config=st.sampled_from([None, "d"]))
configs = st.sampled_from(
    [{}, fragment(), fragment({"nodeSelector": {"disk": "ssd"}}, name="build", volumeMounts=None)]
)


@given(configs, places, st.sampled_from(["s3://b/c", "tar:///context/c"]))
def test_every_job_is_valid_and_mounts_what_it_has(config: Any, place: Place, context: str) -> None:
    before = copy.deepcopy(config)
    body = built(config, place, context=context)
    assert config == before
    pod = body["spec"]["template"]["spec"]
    assert [each["name"] for each in pod["containers"][0]["volumeMounts"]] == [each["name"] for each in pod["volumes"]]


@pytest.mark.parametrize("place", [Place(), Place(claim="c", docker_config="d")])
def test_a_job_of_buildah_is_valid_in_every_version(place: Place) -> None:
    check_all(built(fragment({"hostNetwork": True}, args=["--layers=true"]), place))


def test_the_owners_part_is_named_after_the_builder() -> None:
    assert (FLAVOUR.name, FLAVOUR.fragment) == ("buildah", "buildah-config")
