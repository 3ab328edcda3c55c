"""What a genuine API server does not take, and what is not ours: each told with its cure, and nothing left behind."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import yaml
from tests import cluster
from tests.conditions import eventually
from tests.contracts.kubernetes_fixtures import JOB, KubernetesFixtures
from tests.contracts.target_contract import SECRET, MakeLaunch
from tests.relay import Relay
from tests.services import ROOT

from slipway.adapters.kubernetes.access import Access, from_kubeconfig
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.rights import DISPENSABLE
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.adapters.kubernetes.watcher import KubernetesWatcher
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.errors import AlreadyExists, Forbidden, Invalid, Permanent, Refused, SlipwayError, Temporary
from slipway.model import Changed, Launch, RunPhase, RunRef

pytestmark = [pytest.mark.docker, pytest.mark.cluster]
FIELD_ERRORS = {
    "metadata": {"labels": {"not ok": "x"}},
    "spec": {"completions": -1, "template": {"spec": {"restartPolicy": "Always", "containers": [{"name": "A_b"}]}}},
}


def things(namespace: str) -> list[str]:
    """What is in a namespace beside what the cluster itself puts there."""
    jobs = [each.metadata.name for each in cluster.batch().list_namespaced_job(namespace).items]
    secrets = [each.metadata.name for each in cluster.core().list_namespaced_secret(namespace).items]
    return jobs + [name for name in secrets if not name.startswith("default-token")]


def refusal(call: Callable[[], Any], kind: type[SlipwayError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return caught.value.message


class TestBadInput(KubernetesFixtures):
    """S15."""

    def test_every_field_that_the_server_names_is_told_at_once(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        said = refusal(lambda: target.start(launch("", resource_args=FIELD_ERRORS)), Invalid)
        for field in (
            "resource_args.metadata.labels",
            "resource_args.spec.completions",
            "resource_args.spec.template.spec.containers[0].name",
            "resource_args.spec.template.spec.restartPolicy",
        ):
            assert field in said
        assert things(namespace) == []

    def test_a_namespace_that_is_not_there(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        elsewhere = {**JOB, "metadata": {"namespace": "nowhere"}}
        said = refusal(lambda: target.start(launch("", resource_args=elsewhere)), Invalid)
        assert "resource_args.metadata.namespace" in said
        assert "kubectl create namespace nowhere" in said

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            ({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet"}, ["no JobSet", "kubectl apply", "jobset"]),
            ({"apiVersion": "example.com/v1", "kind": "Train"}, ["no Train", "its CRD is missing", "api-resources"]),
            ({"apiVersion": "kubeflow.org/v1", "kind": "PytorchJob"}, ["Did you mean 'PyTorchJob'?"]),
            ({"apiVersion": "v1", "kind": "Namespace"}, ["of the whole cluster"]),
            ({"apiVersion": "../api/v1/pods?watch=true", "kind": "x"}, ["is no version of an API group"]),
            ({"apiVersion": "x/../../v1", "kind": "x"}, ["is no version of an API group"]),
        ],
    )
    def test_a_kind_that_the_cluster_does_not_have(
        self, target: KubernetesTarget, launch: MakeLaunch, args: dict[str, Any], words: list[str]
    ) -> None:
        said = refusal(lambda: target.start(launch("", resource_args=args)), Invalid)
        assert [word for word in words if word not in said] == []

    def test_an_environment_that_no_server_takes(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        most = launch("", env={f"V{index}": "x" * 100_000 for index in range(15)})
        target.start(most)
        more = launch("", env={f"V{index}": "x" * 100_000 for index in range(16)})
        assert "too large for a cluster" in refusal(lambda: target.start(more), Invalid)
        assert things(namespace) == [most.run.name]

    def test_what_the_server_finds_too_large_is_told_as_that(self, api: Api, namespace: str) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"x": "x" * (4 << 20)}}
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        assert "Make it smaller" in refusal(lambda: api.create(path, body, "make it"), Permanent)

    def test_secrets_that_no_secret_can_hold(self, namespace: str, api: Api, launch: MakeLaunch) -> None:
        target = self.target_in(namespace, api, MemorySecrets({"BIG": "x" * (1 << 20) + "y"}))
        said = refusal(lambda: target.start(launch("", secrets={"TOKEN": "BIG"})), Invalid)
        assert "Secret holds 1048576" in said
        assert "xxx" not in said
        assert things(namespace) == []

    def test_a_variable_whose_name_no_secret_can_have_keeps_its_value_out_of_the_error(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        said = refusal(lambda: target.start(launch("", secrets={"NOT OK": "SECRET_OF_TEST"})), Permanent)
        assert SECRET not in said
        assert eventually(lambda: things(namespace) == [], within=60.0)

    def test_a_quota_on_jobs_is_not_now(self, target: KubernetesTarget, launch: MakeLaunch, namespace: str) -> None:
        """Design 1.8: it never fails an item before its own deadline."""
        self.quota(namespace, "count/jobs.batch")
        said = refusal(lambda: target.start(launch("")), Refused)
        assert "exceeded quota: q" in said

    def test_a_quota_on_secrets_leaves_no_job(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        self.quota(namespace, "count/secrets")
        said = refusal(lambda: target.start(launch("", secrets={"TOKEN": "SECRET_OF_TEST"})), Refused)
        assert "exceeded quota: q" in said
        assert SECRET not in said
        assert eventually(lambda: things(namespace) == [], within=60.0)

    def test_a_start_that_was_undone_is_not_taken_for_one_that_stands(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        """Design 1.8. Its Job is still going away when the item's turn comes again."""
        asked = launch("sleep 60")
        target.start(asked)
        hold = {"metadata": {"finalizers": ["slipway.test/hold"]}}
        cluster.batch().patch_namespaced_job(asked.run.name, namespace, hold)
        cluster.batch().delete_namespaced_job(asked.run.name, namespace, propagation_policy="Background")
        assert "is being removed" in refusal(lambda: target.start(asked), Refused)
        cluster.batch().patch_namespaced_job(asked.run.name, namespace, {"metadata": {"finalizers": None}})

    def quota(self, namespace: str, what: str) -> None:
        from kubernetes.client import V1ObjectMeta, V1ResourceQuota, V1ResourceQuotaSpec

        quota = V1ResourceQuota(metadata=V1ObjectMeta(name="q"), spec=V1ResourceQuotaSpec(hard={what: "0"}))
        cluster.core().create_namespaced_resource_quota(namespace, quota)
        eventually(lambda: cluster.core().read_namespaced_resource_quota("q", namespace).status.hard)


class TestWhatIsNotOurs(KubernetesFixtures):
    """A name may be somebody else's: that is never touched."""

    def test_a_service_of_that_name(self, target: KubernetesTarget, launch: MakeLaunch, namespace: str) -> None:
        board = {"metadata": {"name": "board"}, "spec": {"ports": [{"port": 1}]}}
        theirs = cluster.core().create_namespaced_service(namespace, board).metadata.uid
        ours = {"apiVersion": "v1", "kind": "Service", **board}
        said = refusal(lambda: target.start(launch("", services=(ours,))), AlreadyExists)
        assert f"a Service named {namespace}/board exists and is not this run's" in said
        assert cluster.core().read_namespaced_service("board", namespace).metadata.uid == theirs
        assert eventually(lambda: things(namespace) == [], within=60.0)

    def test_the_service_of_an_earlier_attempt_makes_room(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        board = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "board"}, "spec": {"ports": [{"port": 1}]}}
        first = launch("sleep 60", services=(board,))
        target.start(first)
        second = launch("sleep 60", services=(board,), run=RunRef(first.run.item_id, 2))

        def started() -> bool:
            with suppress(Refused):
                return target.start(second).phase is RunPhase.STARTING
            return False

        assert eventually(started, within=60.0)
        (owner,) = cluster.core().read_namespaced_service("board", namespace).metadata.owner_references
        assert owner.name == second.run.name

    def test_a_job_of_that_name(self, target: KubernetesTarget, launch: MakeLaunch, namespace: str) -> None:
        theirs = self.their_job(namespace, "train")
        named = {"metadata": {"name": "train"}, **JOB}
        said = refusal(lambda: target.start(launch("", resource_args=named)), AlreadyExists)
        assert "${run_id}" in said
        now = cluster.batch().read_namespaced_job("train", namespace)
        assert (now.metadata.uid, now.metadata.deletion_timestamp) == (theirs, None)

    def test_a_secret_of_that_name(self, target: KubernetesTarget, launch: MakeLaunch, namespace: str) -> None:
        from kubernetes.client import V1ObjectMeta, V1Secret

        asked = launch("", secrets={"TOKEN": "SECRET_OF_TEST"})
        theirs = V1Secret(metadata=V1ObjectMeta(name=asked.run.name), string_data={"TOKEN": "theirs"})
        cluster.core().create_namespaced_secret(namespace, theirs)
        said = refusal(lambda: target.start(asked), Refused)
        assert f"a Secret named {namespace}/{asked.run.name} exists and is not this run's" in said
        assert eventually(lambda: things(namespace) == [asked.run.name], within=60.0)
        now = cluster.core().read_namespaced_secret(asked.run.name, namespace)
        assert (now.data, now.metadata.owner_references) == ({"TOKEN": "dGhlaXJz"}, None)

    def test_a_run_that_nobody_started_is_not_stopped_by_its_name(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        run = launch("").run
        self.their_job(namespace, run.name)
        target.stop(run)
        assert target.status(run).phase is RunPhase.ABSENT
        assert cluster.batch().read_namespaced_job(run.name, namespace).metadata.deletion_timestamp is None

    def their_job(self, namespace: str, name: str) -> str:
        pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "slipway-test/python:3"}]}
        body = {"metadata": {"name": name}, "spec": {"template": {"spec": {**pod, "nodeSelector": {"no": "node"}}}}}
        return str(cluster.batch().create_namespaced_job(namespace, body).metadata.uid)


def role() -> list[dict[str, Any]]:
    """The rules that docs/kubernetes.md shows, without those for other kinds than Jobs."""
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    shown = next(block for block in page.split("```yaml\n")[1:] if "kind: Role" in block).partition("```")[0]
    return [rule for rule in yaml.safe_load(shown)["rules"] if rule["apiGroups"][0] in ("batch", "")]


ROLE = role()


class TestRights(KubernetesFixtures):
    """A service account with our Role can do all of it; with one verb less it is told which."""

    @pytest.fixture
    def account(self, namespace: str) -> Iterator[Callable[[list[dict[str, Any]]], Api]]:
        from kubernetes.client import AuthorizationV1Api, RbacAuthorizationV1Api, V1ObjectMeta, V1ServiceAccount

        core, rbac = cluster.core(), RbacAuthorizationV1Api(cluster.client())
        core.create_namespaced_service_account(namespace, V1ServiceAccount(metadata=V1ObjectMeta(name="slipway")))
        account = eventually(
            lambda: (s := core.read_namespaced_service_account("slipway", namespace)).secrets and s, within=30.0
        )
        token = core.read_namespaced_secret(account.secrets[0].name, namespace)
        admin = from_kubeconfig(str(cluster.kubeconfig()))
        binding = {
            "metadata": {"name": "slipway"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "slipway"},
            "subjects": [{"kind": "ServiceAccount", "name": "slipway", "namespace": namespace}],
        }
        rbac.create_namespaced_role(namespace, {"metadata": {"name": "slipway"}, "rules": []})
        rbac.create_namespaced_role_binding(namespace, binding)
        bearer = b64decode(token.data["token"]).decode()

        def with_rules(rules: list[dict[str, Any]]) -> Api:
            rbac.replace_namespaced_role("slipway", namespace, {"metadata": {"name": "slipway"}, "rules": rules})
            # A Role is in force a moment after it is written.
            last = {"verb": rules[-1]["verbs"][-1], "group": rules[-1]["apiGroups"][0], "namespace": namespace}
            resource, _, part = rules[-1]["resources"][-1].partition("/")
            asked = {"resourceAttributes": {**last, "resource": resource, **({"subresource": part} if part else {})}}
            review = {"spec": {**asked, "user": f"system:serviceaccount:{namespace}:slipway"}}
            authorization = AuthorizationV1Api(cluster.client())
            eventually(lambda: authorization.create_subject_access_review(review).status.allowed)
            return Api(Access(admin.server, authority_file=admin.authority_file, token=lambda: bearer))

        return with_rules

    def whole_life(self, target: KubernetesTarget, launch: Launch, then: Launch) -> None:
        """Of a run that finishes, and of one that is stopped; whoever else looks finds them too."""
        target.start(launch)
        eventually(lambda: target.status(launch.run).phase is RunPhase.FINISHED, within=60.0)
        assert list(target.logs(launch.run)) == ["told"]
        stopped = RunRef(then.run.item_id, 1, target.start(then).backend_id)
        target.live()
        target.stop(stopped)
        eventually(lambda: target.status(stopped).phase is RunPhase.ABSENT, within=60.0)

    def test_our_role_is_enough(
        self,
        account: Callable[[list[dict[str, Any]]], Api],
        namespace: str,
        secrets: MemorySecrets,
        launch: MakeLaunch,
    ) -> None:
        target = self.target_in(namespace, account(ROLE), secrets)
        told = launch('test -n "$TOKEN" && echo told', secrets={"TOKEN": "SECRET_OF_TEST"})
        self.whole_life(target, told, launch("sleep 60"))

    @pytest.mark.parametrize(
        ("group", "resource", "verb"),
        [
            (rule["apiGroups"][0], resource, verb)
            for rule in ROLE
            for resource in rule["resources"]
            for verb in rule["verbs"]
            if (resource, verb) not in DISPENSABLE
        ],
    )
    def test_a_verb_that_is_missing_is_named(
        self,
        account: Callable[[list[dict[str, Any]]], Api],
        namespace: str,
        secrets: MemorySecrets,
        launch: MakeLaunch,
        group: str,
        resource: str,
        verb: str,
    ) -> None:
        less = [
            {**rule, "verbs": [each for each in rule["verbs"] if (rule["resources"][0], each) != (resource, verb)]}
            for rule in ROLE
        ]
        target = self.target_in(namespace, account([rule for rule in less if rule["verbs"]]), secrets)
        told = launch('test -n "$TOKEN" && echo told', secrets={"TOKEN": "SECRET_OF_TEST"})
        rule = f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}'
        said = self.told_while_living(target, told, launch("sleep 60"))
        assert f"in a Role in namespace {namespace}: {rule}" in said

    def told_while_living(self, target: KubernetesTarget, launch: Launch, then: Launch) -> str:
        """What stands in its way: an error, or where a run can do without the right its trouble."""
        try:
            started = target.start(launch)
            run = RunRef(launch.run.item_id, 1, started.backend_id)

            def over_or_troubled() -> str | bool:
                status = target.status(run)
                return status.trouble or status.phase is RunPhase.FINISHED

            found = eventually(over_or_troubled, within=60.0)
            if isinstance(found, str):
                return found
            list(target.logs(run))
            target.live()
            target.stop(RunRef(then.run.item_id, 1, target.start(then).backend_id))
        except Forbidden as error:
            return error.message
        return ""

    def test_our_role_is_enough_to_watch(
        self,
        account: Callable[[list[dict[str, Any]]], Api],
        namespace: str,
        secrets: MemorySecrets,
        launch: MakeLaunch,
    ) -> None:
        api = account(ROLE)
        watcher = KubernetesWatcher([namespace])
        watcher.begin(api)
        try:
            asked = launch("exit 0")
            self.target_in(namespace, api, secrets).start(asked)
            assert eventually(lambda: Changed(item_id=asked.run.item_id) in watcher.changes(1.0), within=60.0)
        finally:
            watcher.close()

    def test_without_the_right_to_list_events_less_is_told_and_all_goes_on(
        self,
        account: Callable[[list[dict[str, Any]]], Api],
        namespace: str,
        secrets: MemorySecrets,
        launch: MakeLaunch,
    ) -> None:
        rules = [rule for rule in ROLE if rule["resources"] != ["events"]]
        target = self.target_in(namespace, account(rules), secrets)
        self.whole_life(target, launch("echo told"), launch("sleep 60"))


class TestAServerThatIsAway(KubernetesFixtures):
    def test_nothing_is_started_where_nobody_listens(
        self, namespace: str, secrets: MemorySecrets, launch: MakeLaunch
    ) -> None:
        away = Api(Access("https://127.0.0.1:9", token=lambda: "x"), timeout=1.0)
        said = refusal(lambda: self.target_in(namespace, away, secrets).start(launch("")), Refused)
        assert "https://127.0.0.1:9 does not answer" in said

    def test_a_start_that_loses_the_server_half_way_is_unknown_and_the_next_is_whole(
        self, namespace: str, api: Api, secrets: MemorySecrets, launch: MakeLaunch
    ) -> None:
        asked = launch("", secrets={"TOKEN": "SECRET_OF_TEST"})
        relay = Relay(api.access.server)

        class Cut(Api):
            def create(self, path: str, *arguments: Any, **more: Any) -> Any:
                if path.endswith("/secrets"):
                    relay.down()
                return super().create(path, *arguments, **more)

        over_it = Cut(replace(api.access, server=relay.server))
        with pytest.raises(Temporary) as caught:
            self.target_in(namespace, over_it, secrets).start(asked)
        assert not isinstance(caught.value, Refused)
        target = self.target_in(namespace, api, secrets)
        assert target.status(asked.run).phase is RunPhase.ABSENT
        target.start(asked)
        assert things(namespace) == [asked.run.name, asked.run.name]

    def test_a_server_that_nobody_vouches_for_is_not_believed(self, api: Api) -> None:
        stranger = Api(Access(api.access.server, token=lambda: "token"))
        with pytest.raises(Permanent, match=r"certificate .* is not trusted"):
            stranger.get("/version", "look")

    def test_a_token_that_is_not_known_is_told_with_its_cure(self, api: Api) -> None:
        nobody = Api(Access(api.access.server, authority_file=api.access.authority_file, token=lambda: "nobody"))
        with pytest.raises(Refused, match="renew the credentials"):
            nobody.get("/api/v1/namespaces", "list namespaces")
