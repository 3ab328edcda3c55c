"""A build as a Job that runs Kaniko: W&B's own names and defaults, and the owner's word over them (S12)."""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import problems_of

from slipway.registries import Destination, Kind, destination
from slipway.render.kaniko import IMAGE, Place, beside, job

SECRET = {"secret-name": "push", "secret-key": "key.json"}


def built(
    config: Any = None, place: Place = Place(), image: str = "registry.example.com/train:abc", **more: Any
) -> Any:
    return job(name="build-1", context="s3://bucket/run7.tgz", image=image, config=config or {}, place=place, **more)


def container(*given: Any, **more: Any) -> dict[str, Any]:
    (one,) = built(*given, **more)["spec"]["template"]["spec"]["containers"]
    return dict(one)


def fragment(**container: Any) -> dict[str, Any]:
    return {"kaniko-config": {"spec": {"template": {"spec": {"containers": [container]}}}}}


def test_a_build_is_a_job_with_w_and_bs_defaults() -> None:
    """S12."""
    body = built()
    assert body["metadata"] == {"name": "build-1", "namespace": "wandb", "labels": {"wandb": "launch"}}
    assert body["spec"]["backoffLimit"] == 0
    pod = body["spec"]["template"]["spec"]
    assert (pod["restartPolicy"], pod["activeDeadlineSeconds"], pod["serviceAccountName"]) == ("Never", 1800, "default")
    one = container()
    assert (one["name"], one["image"]) == ("wandb-container-build", IMAGE)
    assert one["args"] == [
        "--context=s3://bucket/run7.tgz",
        "--dockerfile=Dockerfile.wandb",
        "--destination=registry.example.com/train:abc",
        "--cache=true",
        "--cache-repo=registry.example.com/train",
        "--snapshot-mode=redo",
        "--compressed-caching=false",
    ]


def test_what_the_owner_says_goes_over_the_defaults_by_its_name() -> None:
    """S12."""
    config = {
        "kaniko-image": "kaniko:2",
        "kaniko-config": {
            "metadata": {"namespace": "builds", "labels": {"a": "b"}},
            "spec": {
                "backoffLimit": 2,
                "template": {
                    "metadata": {"annotations": {"x": "y"}},
                    "spec": {
                        "activeDeadlineSeconds": 60,
                        "nodeSelector": {"disk": "ssd"},
                        "containers": [
                            {
                                "args": ["--cache=false", "--verbosity=debug"],
                                "env": [{"name": "A", "value": "b"}],
                                "resources": {"limits": {"cpu": 4}},
                            }
                        ],
                    },
                },
            },
        },
    }
    body = built(config)
    assert body["metadata"]["namespace"] == "builds"
    assert body["metadata"]["labels"] == {"a": "b", "wandb": "launch"}
    assert body["spec"]["backoffLimit"] == 2
    pod = body["spec"]["template"]["spec"]
    assert (pod["activeDeadlineSeconds"], pod["nodeSelector"]) == (60, {"disk": "ssd"})
    (one,) = pod["containers"]
    assert (one["image"], one["resources"], one["env"]) == (
        *("kaniko:2", {"limits": {"cpu": 4}}, [{"name": "A", "value": "b"}]),
    )
    assert "--cache=false" in one["args"]
    assert "--cache=true" not in one["args"]
    assert one["args"][-1] == "--verbosity=debug"


def test_an_option_that_is_repeated_is_repeated() -> None:
    given = ["--build-arg=A=1", "--build-arg=B=2", "--registry-mirror=a", "--registry-mirror=b"]
    args = container(fragment(args=given), build_args={"C": "3"})["args"]
    assert [each for each in args if each in given] == given
    assert args[-1] == "--build-arg=C=3"


@pytest.mark.parametrize(
    ("image", "destination", "repository"),
    [
        ("r.example.com/train:abc", "r.example.com/train:abc", "r.example.com/train"),
        ("https://r.example.com/train:abc", "r.example.com/train:abc", "r.example.com/train"),
        ("r.example.com:5000/train", "r.example.com:5000/train", "r.example.com:5000/train"),
        ("r.example.com:5000/train:abc", "r.example.com:5000/train:abc", "r.example.com:5000/train"),
    ],
)
def test_layers_are_cached_beside_the_image(image: str, destination: str, repository: str) -> None:
    args = container(image=image)["args"]
    assert f"--destination={destination}" in args
    assert f"--cache-repo={repository}" in args


def test_each_registry_gets_what_it_takes_to_push() -> None:
    """S10, S12."""
    config = {"secret-name": "push", "secret-key": "key.json"}
    ecr = container(config, Place(registry="ecr", region="eu-west-1"))
    assert {"name": "AWS_REGION", "value": "eu-west-1"} in ecr["env"]
    assert {"name": "push", "mountPath": "/root/.aws", "readOnly": True} in ecr["volumeMounts"]
    gar = container(config, Place(registry="gar"))
    assert gar["env"][0]["name"] == "GOOGLE_APPLICATION_CREDENTIALS"
    assert {"name": "push", "mountPath": "/kaniko/.config/gcloud", "readOnly": True} in gar["volumeMounts"]
    acr = built({}, Place(registry="acr"))["spec"]["template"]
    assert acr["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert acr["spec"]["volumes"] == [{"name": "docker-config", "configMap": {"name": "docker-config-build-1"}}]
    login = built({}, Place(registry="acr", docker_config="login"))["spec"]["template"]
    assert "azure.workload.identity/use" not in login["metadata"]["labels"]
    assert login["spec"]["volumes"][0]["secret"]["secretName"] == "login"
    azure = container({}, Place(azure_storage=True))["env"][0]
    assert azure["valueFrom"]["secretKeyRef"] == {"name": "azure-storage-access-key", "key": "password"}


def test_a_claim_holds_contexts_in_place_of_a_bucket() -> None:
    """S12."""
    pod = built({}, Place(claim="contexts"))["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "kaniko-pvc", "persistentVolumeClaim": {"claimName": "contexts"}}]
    assert pod["containers"][0]["volumeMounts"] == [{"name": "kaniko-pvc", "mountPath": "/context"}]


@pytest.mark.parametrize(
    ("place", "config", "docker"),
    [
        (Place(registry="ecr"), SECRET, {"credHelpers": {"host": "ecr-login"}}),
        (Place(registry="acr"), {}, {"credHelpers": {"host": "acr-env"}}),
        (Place(registry="acr"), SECRET, {"credHelpers": {"host": "acr-env"}}),
        (Place(registry="gar"), SECRET, {}),
    ],
)
def test_the_config_map_that_a_job_mounts_is_made(place: Place, config: Any, docker: Any) -> None:
    """S10, S12: who logs in where no login is handed out. Google's credentials are found without a helper."""
    (made,) = beside("build-1", config, place, "host")
    assert json.loads(made["data"]["config.json"]) == docker
    mounted = [each.get("configMap") for each in built(config, place)["spec"]["template"]["spec"]["volumes"]]
    assert {"name": made["metadata"]["name"]} in mounted


@pytest.mark.parametrize("place", [Place(), Place(registry="ecr"), Place(registry="acr", docker_config="login")])
def test_no_config_map_is_made_that_no_job_mounts(place: Place) -> None:
    assert beside("build-1", {}, place, "host") == ()
    volumes = built({}, place)["spec"]["template"]["spec"]["volumes"]
    assert not [each for each in volumes if "configMap" in each]


@pytest.mark.parametrize(
    ("uri", "registry", "region"),
    [
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/jobs", "ecr", "us-east-1"),
        ("team.azurecr.io/jobs", "acr", None),
        ("europe-west4-docker.pkg.dev/project/repository/jobs", "gar", "europe-west4"),
        ("registry.example.com/jobs", "other", None),
    ],
)
def test_where_images_go_tells_how_to_log_in_there(uri: str, registry: str, region: str | None) -> None:
    """S10."""
    place = Place(namespace="builds").pushing_to(destination(uri))
    assert (place.namespace, place.registry, place.region) == ("builds", registry, region)


def test_every_kind_of_registry_has_a_word() -> None:
    for kind in Kind:
        assert Place().pushing_to(Destination(kind, "host/a", "host", "a")).registry


def test_a_platform_is_asked_for_by_its_name() -> None:
    assert "--custom-platform=linux/arm64" in container(platform="linux/arm64")["args"]


def test_settings_that_do_not_go_together_are_told_at_once() -> None:
    config = {
        "secret-name": "push",
        "kaniko-config": {"spec": {"template": {"spec": {"containers": [{"args": ["--cache"]}, {}]}}}},
    }
    problems = problems_of(lambda: built(config))
    assert problems.keys() == {
        "builder.secret-name",
        "builder.kaniko-config.spec.template.spec.containers",
        "builder.kaniko-config",
    }
    assert problems["builder.kaniko-config"].fix == "Write --cache=true."


args = st.lists(st.from_regex(r"--[a-z-]{1,8}=[a-z=]{0,5}", fullmatch=True), max_size=5)
fragments = st.builds(
    lambda args, env, metadata: {
        "kaniko-config": {
            "metadata": metadata,
            "spec": {"template": {"spec": {"containers": [{"args": args, "env": env}]}}},
        }
    },
    args,
    st.lists(st.just({"name": "A", "value": "b"}), max_size=2),
    st.sampled_from([None, {}, {"labels": None}, {"labels": {"a": "b"}}]),
)
places = st.builds(
    Place,
    registry=st.sampled_from(["ecr", "acr", "gar", "other"]),
    region=st.sampled_from([None, "r"]),
    claim=st.sampled_from([None, "c"]),
    docker_config=st.sampled_from([None, "d"]),
)


@given(fragments, places, st.dictionaries(st.sampled_from("ABC"), st.text(max_size=3)))
def test_a_build_is_a_function_of_its_settings(config: Any, place: Place, build_args: dict[str, str]) -> None:
    """The settings are not changed, each word of the owner's is there, and the image goes where it should."""
    before = copy.deepcopy(config)
    first = built(config, place, build_args=build_args)
    assert config == before
    assert built(config, place, build_args=build_args) == first
    (one,) = first["spec"]["template"]["spec"]["containers"]
    owners = config["kaniko-config"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert not Counter(owners) - Counter(one["args"])
    mounted = {each["name"] for each in one["volumeMounts"]}
    assert mounted == {each["name"] for each in first["spec"]["template"]["spec"]["volumes"]}
