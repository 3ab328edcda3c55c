"""What a genuine Kubernetes makes of runs, in Slipway's words: each state is built on the server and then looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests import cluster
from tests.conditions import eventually
from tests.contracts.kubernetes_fixtures import KubernetesFixtures
from tests.contracts.target_contract import SECRET, MakeLaunch

from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.finding import Place
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.adapters.memory.blobs import MemoryBlobs
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.model import Failure, Launch, RunPhase, RunRef, RunStatus

pytestmark = [pytest.mark.docker, pytest.mark.cluster]
WITHIN = 60.0


def job(spec: Mapping[str, Any] = {}, pod: Mapping[str, Any] = {}, container: Mapping[str, Any] = {}) -> dict[str, Any]:
    whole = {"terminationGracePeriodSeconds": 0, "containers": [dict(container)], **pod}
    return {"spec": {**spec, "template": {"spec": whole}}}


class StateFixtures(KubernetesFixtures):
    def started(self, target: KubernetesTarget, launch: Launch) -> RunRef:
        """The run as its item knows it after its start."""
        return replace(launch.run, backend_id=target.start(launch).backend_id)

    def trouble(self, target: KubernetesTarget, run: RunRef, *words: str) -> RunStatus:
        """The status, once its trouble says all these words."""

        def told() -> RunStatus | None:
            status = target.status(run)
            return status if all(word in status.trouble for word in words) else None

        status = eventually(told, within=WITHIN)
        assert status is not None
        return status

    def over(self, target: KubernetesTarget, run: RunRef) -> RunStatus:
        def ended() -> RunStatus | None:
            status = target.status(run)
            return status if status.phase not in (RunPhase.STARTING, RunPhase.RUNNING) else None

        status = eventually(ended, within=WITHIN)
        assert status is not None
        return status


class TestWhileItWaits(StateFixtures):
    """S15. What keeps a run from going on is told while it waits."""

    def test_an_image_that_cannot_be_pulled(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        run = self.started(target, launch("exit 0", image="127.0.0.1:9/nobody/here:1"))
        status = self.trouble(target, run, "ImagePullBackOff", "127.0.0.1:9/nobody/here:1", "container launch0")
        assert status.phase is RunPhase.STARTING
        target.stop(run)

    def test_a_name_that_is_no_images(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        run = self.started(target, launch("exit 0", image="Not/An:Image:1"))
        assert self.trouble(target, run, "InvalidImageName").phase is RunPhase.STARTING

    def test_no_node_has_what_it_asks_for(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        gpus = job(container={"resources": {"limits": {"nvidia.com/gpu": 8}}})
        run = self.started(target, launch("exit 0", resource_args=gpus))
        status = self.trouble(target, run, "finds no node: 0/1 nodes are available", "Insufficient nvidia.com/gpu")
        assert status.phase is RunPhase.STARTING

    def test_a_secret_of_the_config_is_missing(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "x"}}}]
        run = self.started(target, launch("exit 0", resource_args=job(container={"env": env})))
        self.trouble(target, run, "CreateContainerConfigError", 'secret "nowhere" not found')

    def test_a_volume_cannot_be_mounted(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        volumes = [{"name": "v", "configMap": {"name": "nowhere"}}]
        mounting = job(pod={"volumes": volumes}, container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]})
        run = self.started(target, launch("exit 0", resource_args=mounting))
        self.trouble(target, run, "FailedMount", 'configmap "nowhere" not found')

    def test_a_quota_leaves_no_room_for_its_pods(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        from kubernetes.client import V1ObjectMeta, V1ResourceQuota, V1ResourceQuotaSpec

        quota = V1ResourceQuota(metadata=V1ObjectMeta(name="q"), spec=V1ResourceQuotaSpec(hard={"pods": "0"}))
        cluster.core().create_namespaced_resource_quota(namespace, quota)
        eventually(lambda: cluster.core().read_namespaced_resource_quota("q", namespace).status.hard)
        run = self.started(target, launch("exit 0"))
        status = self.trouble(target, run, "FailedCreate", "exceeded quota: q, requested: pods=1")
        assert status.phase is RunPhase.STARTING

    def test_a_container_that_ends_again_and_again(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        again = job({"backoffLimit": 6}, {"restartPolicy": "OnFailure"})
        run = self.started(target, launch("echo tried; exit 7", resource_args=again))
        status = self.trouble(target, run, "CrashLoopBackOff", "exited with code 7")
        assert status.phase is RunPhase.RUNNING
        assert next(iter(target.logs(run))) == "tried"
        target.stop(run)

    def test_every_start_of_a_container_is_followed_and_once(
        self, target: KubernetesTarget, launch: MakeLaunch
    ) -> None:
        """A volume of the pod counts them."""
        counted = {"volumes": [{"name": "v", "emptyDir": {}}], "restartPolicy": "OnFailure"}
        mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        again = job({"backoffLimit": 6}, counted, mounts)
        script = 'echo x >>/v/n; n=$(wc -l </v/n); echo "start $n"; test "$n" -ge 2'
        run = self.started(target, launch(script, resource_args=again))
        assert list(target.logs(run, follow=True)) == ["start 1", "start 2"]

    def test_trouble_with_a_secret_in_it_keeps_it(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        words = {"terminationMessagePolicy": "FallbackToLogsOnError"}
        again = job({"backoffLimit": 6}, {"restartPolicy": "OnFailure"}, words)
        asked = launch('echo "no login with $TOKEN"; exit 1', resource_args=again, secrets={"TOKEN": "SECRET_OF_TEST"})
        run = self.started(target, asked)
        assert SECRET not in repr(self.trouble(target, run, "CrashLoopBackOff", "no login with ***"))
        target.stop(run)

    def test_a_pull_secret_that_is_missing_is_named_where_the_node_says_so(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        """A kubelet of 1.20 says that the image cannot be pulled, and no more; later ones send this event."""
        private = job(pod={"imagePullSecrets": [{"name": "nowhere"}]})
        run = self.started(target, launch("exit 0", image="127.0.0.1:9/private:1", resource_args=private))
        status = self.trouble(target, run, "the image cannot be pulled", "127.0.0.1:9/private:1")
        assert status.phase is RunPhase.STARTING
        (pod,) = cluster.core().list_namespaced_pod(namespace).items
        words = "Unable to retrieve some image pull secrets (nowhere); attempting to pull the image may not succeed."
        event = {
            "metadata": {"generateName": "pull-"},
            "type": "Warning",
            "reason": "FailedToRetrieveImagePullSecret",
            "message": words,
            "involvedObject": {
                "kind": "Pod",
                "name": pod.metadata.name,
                "namespace": namespace,
                "uid": pod.metadata.uid,
            },
        }
        cluster.core().create_namespaced_event(namespace, event)
        self.trouble(
            target, run, "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (nowhere)"
        )
        target.stop(run)

    def test_trouble_that_is_over_is_not_told_any_more(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        from kubernetes.client import V1ObjectMeta, V1Secret

        env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "late", "key": "x"}}}]
        run = self.started(target, launch("sleep 60", resource_args=job(container={"env": env})))
        self.trouble(target, run, 'secret "late" not found')
        cluster.core().create_namespaced_secret(
            namespace, V1Secret(metadata=V1ObjectMeta(name="late"), string_data={"x": "y"})
        )
        status = eventually(lambda: (s := target.status(run)).phase is RunPhase.RUNNING and s, within=WITHIN)
        assert status
        assert status.trouble == ""
        target.stop(run)


class TestHowItEnds(StateFixtures):
    def test_more_memory_than_its_limit(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        small = job(container={"resources": {"limits": {"memory": "16Mi"}}})
        run = self.started(target, launch("x=a; while true; do x=$x$x; done", resource_args=small))
        status = self.over(target, run)
        assert (status.phase, status.failure) == (RunPhase.FAILED, Failure.USER)
        assert "OOMKilled): raise resources.limits.memory" in status.reason

    def test_more_time_than_its_deadline(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        run = self.started(target, launch("sleep 300", resource_args=job({"activeDeadlineSeconds": 1})))
        status = self.over(target, run)
        assert status.phase is RunPhase.FAILED
        assert status.reason == "it ran for more than its activeDeadlineSeconds, 1 s (DeadlineExceeded)"

    def test_a_program_that_is_not_in_the_image(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        status = self.over(target, self.started(target, launch("", entry_point=("no-such-program",))))
        assert (status.phase, status.failure) == (RunPhase.FAILED, Failure.CONFIGURATION)
        assert "cannot run" in status.reason
        assert "no-such-program" in status.reason

    def test_an_init_container_that_fails(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        init = {"name": "fetch", "image": "slipway-test/python:3", "command": ["sh", "-c", "exit 9"]}
        run = self.started(target, launch("exit 0", resource_args=job(pod={"initContainers": [init]})))
        status = self.over(target, run)
        assert (status.phase, status.exit_code) == (RunPhase.FAILED, 9)
        assert "container fetch of pod" in status.reason

    def test_what_an_init_container_that_failed_wrote_can_be_read(
        self, target: KubernetesTarget, launch: MakeLaunch
    ) -> None:
        """It brings mounted code, say: fatal: repository not found."""
        init = {"name": "fetch", "image": "slipway-test/python:3", "command": ["sh", "-c", "echo fatal; exit 128"]}
        run = self.started(target, launch("exit 0", resource_args=job(pod={"initContainers": [init]})))
        self.over(target, run)
        assert list(target.logs(run)) == ["fatal"]

    def test_one_of_several_containers(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        two = [{"name": "a"}, {"name": "b", "command": ["sh", "-c", "echo of b; exit 4"]}]
        asked = launch("echo of a; exit 0", resource_args=job(pod={"containers": two}), overriding=False)
        run = self.started(target, asked)
        status = self.over(target, run)
        assert (status.phase, status.exit_code) == (RunPhase.FAILED, 4)
        assert "container b of pod" in status.reason
        assert sorted(line.split("/")[1] for line in target.logs(run)) == ["a of a", "b of b"]

    def test_last_words_with_a_secret_in_them_keep_it(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        words = job(container={"terminationMessagePolicy": "FallbackToLogsOnError"})
        script = 'echo "cannot log in with $TOKEN"; exit 1'
        asked = launch(script, resource_args=words, secrets={"TOKEN": "SECRET_OF_TEST"})
        status = self.over(target, self.started(target, asked))
        assert "cannot log in with ***" in status.reason
        assert SECRET not in repr(status)

    def test_a_parallel_job_finishes_when_all_of_it_has(self, target: KubernetesTarget, launch: MakeLaunch) -> None:
        """W&B Launch waits for exactly one pod that succeeded."""
        several = job({"completions": 3, "parallelism": 2})
        run = self.started(target, launch('echo "$HOSTNAME"', resource_args=several))
        assert self.over(target, run) == replace(RunStatus(RunPhase.FINISHED, exit_code=0), backend_id=run.backend_id)
        lines = list(target.logs(run))
        assert len(lines) == 3
        assert all(line.startswith(f"{line.split()[1]}/launch0 ") for line in lines)

    def test_a_disrupted_pod_is_a_preemption(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str
    ) -> None:
        """As clusters of 1.26 and later mark it; this one has the mark from the test."""
        nowhere = job(pod={"nodeSelector": {"kubernetes.io/hostname": "nowhere"}})
        run = self.started(target, launch("exit 0", resource_args=nowhere))
        self.fail_pod(namespace, run, conditions=[self.disrupted("PreemptionByScheduler", "to make room for train-2")])
        status = self.over(target, run)
        assert (status.phase, status.failure) == (RunPhase.PREEMPTED, Failure.INFRASTRUCTURE)
        assert "it made room for a pod of a higher priority: to make room for train-2" in status.reason

    def test_an_evicted_pod_is_a_preemption(self, target: KubernetesTarget, launch: MakeLaunch, namespace: str) -> None:
        nowhere = job(pod={"nodeSelector": {"kubernetes.io/hostname": "nowhere"}})
        run = self.started(target, launch("exit 0", resource_args=nowhere))
        self.fail_pod(namespace, run, reason="Evicted", message="The node was low on resource: memory.")
        status = self.over(target, run)
        assert status.phase is RunPhase.PREEMPTED
        assert "Evicted: The node was low on resource: memory." in status.reason

    def disrupted(self, reason: str, message: str) -> dict[str, str]:
        return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}

    def fail_pod(self, namespace: str, run: RunRef, **status: Any) -> None:
        """As a kubelet would: this pod has no node."""
        selector = f"slipway.item={run.item_id}"
        pods = eventually(lambda: cluster.core().list_namespaced_pod(namespace, label_selector=selector).items)
        cluster.core().patch_namespaced_pod_status(
            pods[0].metadata.name, namespace, {"status": {"phase": "Failed", **status}}
        )


class TestWhatIsGone(StateFixtures):
    def test_a_finished_job_that_its_ttl_removed_is_remembered(
        self, target: KubernetesTarget, launch: MakeLaunch, api: Api
    ) -> None:
        run = self.started(target, launch("exit 0", resource_args=job({"ttlSecondsAfterFinished": 0})))
        self.removed(api, run)
        status = target.status(run)
        assert (status.phase, status.exit_code) == (RunPhase.FINISHED, 0)

    def test_what_a_cancelled_run_wrote_is_kept(
        self, namespace: str, api: Api, secrets: MemorySecrets, launch: MakeLaunch
    ) -> None:
        target = self.target_in(namespace, api, secrets, archive=MemoryBlobs())
        run = self.started(target, launch("echo begun; exec sleep 60"))
        eventually(lambda: list(target.logs(run)), within=WITHIN)
        target.stop(run)
        self.removed(api, run)
        assert list(target.logs(run)) == ["begun"]

    def test_a_failed_one_too(self, target: KubernetesTarget, launch: MakeLaunch, api: Api) -> None:
        run = self.started(target, launch("exit 1", resource_args=job({"ttlSecondsAfterFinished": 0})))
        self.removed(api, run)
        status = target.status(run)
        assert status.phase is RunPhase.FAILED
        assert "backoff limit" in status.reason

    def test_one_that_somebody_deleted_is_certainly_absent(
        self, target: KubernetesTarget, launch: MakeLaunch, api: Api, namespace: str
    ) -> None:
        run = self.started(target, launch("sleep 60"))
        cluster.batch().delete_namespaced_job(run.name, namespace, propagation_policy="Background")
        self.removed(api, run)
        assert target.status(run) == RunStatus(RunPhase.ABSENT, backend_id=run.backend_id, certain=True)

    def test_a_later_job_of_its_name_is_not_it(
        self, target: KubernetesTarget, launch: MakeLaunch, api: Api, namespace: str
    ) -> None:
        named = {"metadata": {"name": "train"}, **job()}
        first = launch("sleep 60", resource_args=named)
        run = self.started(target, first)
        target.stop(run)
        self.removed(api, run)
        other = self.started(target, launch("sleep 60", resource_args=named))
        assert target.status(run).phase is RunPhase.ABSENT
        target.stop(run)
        assert target.status(other).phase in (RunPhase.STARTING, RunPhase.RUNNING)
        assert cluster.batch().read_namespaced_job("train", namespace).metadata.deletion_timestamp is None

    def test_its_log_is_kept_beyond_its_pods(
        self, namespace: str, api: Api, secrets: MemorySecrets, launch: MakeLaunch
    ) -> None:
        target = self.target_in(namespace, api, secrets, archive=MemoryBlobs())
        run = self.started(target, launch("echo first; echo second"))
        self.over(target, run)
        cluster.batch().delete_namespaced_job(run.name, namespace, propagation_policy="Foreground")
        self.removed(api, run)
        assert list(target.logs(run)) == list(target.logs(run, follow=True)) == ["first", "second"]

    def removed(self, api: Api, run: RunRef) -> None:
        from slipway.errors import NotFound

        def gone() -> bool:
            try:
                api.get(Place.of(run.backend_id or "").path, "look")
            except NotFound:
                return True
            return False

        assert eventually(gone, within=WITHIN)


PYTORCH = {
    "apiVersion": "kubeflow.org/v1",
    "kind": "PyTorchJob",
    "spec": {
        "pytorchReplicaSpecs": {
            kind: {"replicas": count, "template": {"spec": {"containers": [{"name": "pytorch"}]}}}
            for kind, count in (("Master", 1), ("Worker", 2))
        }
    },
}
VOLCANO = {
    "apiVersion": "batch.volcano.sh/v1alpha1",
    "kind": "Job",
    "spec": {
        "minAvailable": 2,
        "tasks": [{"name": "t", "replicas": 2, "template": {"spec": {"containers": [{"name": "c"}]}}}],
    },
}


def condition(kind: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "lastTransitionTime": "2026-11-26T00:00:00Z", **more}


class TestOtherKinds(StateFixtures):
    """S15. No operator runs here: the test says what one would."""

    @pytest.mark.parametrize(
        ("status", "phase", "reason"),
        [
            ({"conditions": [condition("Created")]}, RunPhase.STARTING, ""),
            ({"conditions": [condition("Created"), condition("Running")]}, RunPhase.RUNNING, ""),
            ({"conditions": [condition("Running"), condition("Restarting")]}, RunPhase.RUNNING, ""),
            ({"conditions": [condition("Running"), condition("Succeeded")]}, RunPhase.FINISHED, ""),
            ({"conditions": [condition("Running"), condition("Failed", message="worker 1 died")]}, RunPhase.FAILED,
             "worker 1 died"),
        ],
    )  # fmt: skip
    def test_a_pytorchjob_by_its_conditions(
        self, target: KubernetesTarget, launch: MakeLaunch, status: Any, phase: RunPhase, reason: str
    ) -> None:
        run = self.started(target, launch("exit 0", resource_args=PYTORCH))
        self.says(run, status)
        told = target.status(run)
        assert (told.phase, told.reason) == (phase, reason)

    @pytest.mark.parametrize(
        ("word", "phase"),
        [
            ("Pending", RunPhase.STARTING),
            ("Terminating", RunPhase.RUNNING),
            ("Running", RunPhase.RUNNING),
            ("Restarting", RunPhase.RUNNING),
            ("Aborting", RunPhase.RUNNING),
            ("Completing", RunPhase.RUNNING),
            ("Completed", RunPhase.FINISHED),
            ("Aborted", RunPhase.FAILED),
            ("Terminated", RunPhase.FAILED),
            ("Failed", RunPhase.FAILED),
        ],
    )
    def test_a_volcano_job_by_its_phase(
        self, target: KubernetesTarget, launch: MakeLaunch, word: str, phase: RunPhase
    ) -> None:
        run = self.started(target, launch("exit 0", resource_args=VOLCANO))
        self.says(run, {"state": {"phase": word}})
        assert target.status(run).phase is phase

    def test_one_is_found_by_its_pods_where_its_start_was_not_answered(
        self, target: KubernetesTarget, launch: MakeLaunch, api: Api, namespace: str
    ) -> None:
        """A cluster does not tell which kinds runs are of; pods tell who owns them."""
        asked = launch("sleep 60", resource_args=PYTORCH)
        run = self.started(target, asked)
        self.pod_of(api, run, namespace)
        eventually(lambda: target.status(asked.run).phase is RunPhase.RUNNING, within=WITHIN)
        assert target.status(asked.run).backend_id == run.backend_id
        assert run in target.live()
        target.stop(asked.run)
        assert eventually(lambda: target.status(run).phase is RunPhase.ABSENT, within=WITHIN)

    def says(self, run: RunRef, status: Any) -> None:
        """As its operator would."""
        cluster.say_status(Place.of(run.backend_id or "").path, status)

    def pod_of(self, api: Api, run: RunRef, namespace: str) -> None:
        place = Place.of(run.backend_id or "")
        made = api.get(place.path, "look")
        template = made["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
        owner = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": place.name, "uid": place.uid}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": f"{place.name}-master-0", "ownerReferences": [owner]},
            "spec": {**template["spec"], "restartPolicy": "Never"},
        }
        api.create(f"/api/v1/namespaces/{namespace}/pods", body, "play the operator")
