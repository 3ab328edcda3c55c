"""Runs as Jobs of a genuine Kubernetes: the target contract on its node, and what a Job does beside it."""

from __future__ import annotations

import pytest
from tests.contracts.kubernetes_fixtures import KubernetesFixtures
from tests.contracts.target_contract import TargetContract

from slipway.model import RunPhase

pytestmark = [pytest.mark.docker, pytest.mark.cluster]


class TestKubernetesTarget(KubernetesFixtures, TargetContract):
    """S15: the resource `kubernetes`. A Job that is stopped is deleted, and no file of a run can be read."""

    within = 60.0
    after_a_stop = RunPhase.ABSENT
    output_folder = False
