"""CodeBuild's words, as botocore's model of it has them."""

from __future__ import annotations

import botocore.session
import pytest

from slipway.adapters.aws.build_status import build_status, log_lines, log_place
from slipway.errors import Temporary
from slipway.model import BuildPhase

MODEL = botocore.session.Session().get_service_model("codebuild")
STATUSES = MODEL.shape_for("StatusType").enum
PHASES = MODEL.shape_for("BuildPhaseType").enum


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("status", STATUSES)
def test_every_documented_word_is_understood(status: str, phase: str) -> None:
    found = build_status({"id": "slipway:1", "buildStatus": status, "currentPhase": phase}).phase
    assert found is not BuildPhase.ABSENT
    assert found.alive == (status == "IN_PROGRESS")
    assert (found is BuildPhase.QUEUED) == (status == "IN_PROGRESS" and phase in ("SUBMITTED", "QUEUED"))
    assert (found is BuildPhase.SUCCEEDED) == (status == "SUCCEEDED")


@pytest.mark.parametrize("status", ["PAUSED", None])
def test_another_word_is_looked_at_again(status: str | None) -> None:
    with pytest.raises(Temporary, match="does not document"):
        build_status({"id": "slipway:1", "buildStatus": status, "currentPhase": "BUILD"})


def test_the_reason_is_that_of_the_first_phase_that_went_wrong() -> None:
    build = {
        "buildStatus": "FAILED",
        "phases": [
            {"phaseType": "INSTALL", "phaseStatus": "SUCCEEDED", "contexts": [{"statusCode": "", "message": ""}]},
            {"phaseType": "BUILD", "phaseStatus": "FAILED", "contexts": [{"statusCode": "A", "message": "this"}]},
            {"phaseType": "FINALIZING", "phaseStatus": "FAILED", "contexts": [{"statusCode": "B", "message": "that"}]},
            {"phaseType": "COMPLETED"},
        ],
    }
    assert build_status(build).reason == "BUILD: this"


def test_a_phase_without_a_message_tells_its_code() -> None:
    phase = {"phaseType": "DOWNLOAD_SOURCE", "phaseStatus": "FAILED", "contexts": [{"statusCode": "CLIENT_ERROR"}]}
    assert build_status({"buildStatus": "FAILED", "phases": [phase]}).reason == "DOWNLOAD_SOURCE: CLIENT_ERROR"


def test_a_failure_without_a_word_is_still_one_with_a_reason() -> None:
    assert build_status({"buildStatus": "FAILED"}).reason == "CodeBuild gave no reason"


def test_a_log_event_may_be_several_lines() -> None:
    assert log_lines([{"message": "one\r\ntwo\n"}, {"message": "\n"}, {"message": "three"}]) == [
        "one",
        "two",
        "",
        "three",
    ]


@pytest.mark.parametrize("logs", [{}, {"groupName": "g"}, {"groupName": None, "streamName": None}])
def test_a_build_in_line_has_no_log(logs: dict[str, str | None]) -> None:
    assert log_place({"logs": logs}) is None
