"""What every builder does, wherever it builds. A binding is a subclass with the fixtures below."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from typing import Protocol

import pytest
from tests.conditions import eventually

from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus, Presence
from slipway.ports import Builder

FAREWELL = "this is why the build failed"
"""The last words in the log of a `failing_request`, or the start of them."""


class MakeRequest(Protocol):
    def __call__(self, files: dict[str, str], **changes: object) -> BuildRequest: ...


class MakeFailingRequest(Protocol):
    def __call__(self) -> BuildRequest: ...


class BuilderContract:
    """The builder port (S8, S11). `within` is how many seconds a small build may take here."""

    within: float = 60.0
    kind: str = "builder"
    cache_mounts: bool = False
    """Whether builds here understand `RUN --mount=type=cache`."""

    @pytest.fixture
    def builder(self) -> Builder:
        """The adapter under test, with nothing built."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def fresh_builder(self) -> Builder:
        """A second instance on the same backend: Slipway after a restart."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def request_(self) -> MakeRequest:
        """A build of these files (path → text) that will succeed; its image is named after them. `changes` replace
        fields of the request."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def failing_request(self) -> MakeFailingRequest:
        """A build that will fail, with FAREWELL at the end of its log."""
        raise AssertionError("the binding provides it")

    def times_built(self, builder: Builder, request: BuildRequest) -> int:
        """How many builds of this image and attempt really ran."""
        raise AssertionError("the binding provides it")

    def settle(self, builder: Builder, request: BuildRequest) -> None:
        """Lets a started build come to its end, on a backend where nothing moves on its own."""

    def end(self, builder: Builder, request: BuildRequest) -> BuildStatus:
        """The status of a started build once it is over."""
        self.settle(builder, request)

        def over() -> BuildStatus | None:
            status = builder.status(self.build_of(request))
            return status if status.phase in (BuildPhase.SUCCEEDED, BuildPhase.FAILED) else None

        return eventually(over, within=self.within)

    def build_of(self, request: BuildRequest) -> Build:
        return Build(request.image, self.kind, request.attempt)

    def test_it_says_whether_it_understands_cache_mounts(self, builder: Builder, fresh_builder: Builder) -> None:
        assert builder.cache_mounts is fresh_builder.cache_mounts is self.cache_mounts

    def test_an_image_that_nobody_built_is_absent(self, builder: Builder, request_: MakeRequest) -> None:
        request = request_({"train.py": "print(1)"})
        assert builder.status(self.build_of(request)).phase is BuildPhase.ABSENT
        assert builder.registry().presence(request.image) is Presence.ABSENT

    def test_the_name_of_an_image_holds_its_tag_and_never_changes(
        self, builder: Builder, fresh_builder: Builder
    ) -> None:
        """S11."""
        tag = "0123456789abcdef01234567"
        image = builder.image("digits", tag)
        assert tag in image
        assert image == builder.image("digits", tag) == fresh_builder.image("digits", tag)
        assert image != builder.image("digits", tag[::-1])

    def test_a_started_build_ends_with_its_image_in_the_registry(self, builder: Builder, request_: MakeRequest) -> None:
        """S11."""
        request = request_({"train.py": "print(1)"})
        started = builder.start(request)
        assert started.phase.alive or started.phase is BuildPhase.SUCCEEDED
        ended = self.end(builder, request)
        assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail
        assert builder.registry().presence(request.image) is Presence.PRESENT

    def test_a_failed_build_says_why_and_leaves_no_image(
        self, builder: Builder, failing_request: MakeFailingRequest
    ) -> None:
        request = failing_request()
        builder.start(request)
        ended = self.end(builder, request)
        assert ended.phase is BuildPhase.FAILED
        assert ended.reason
        assert FAREWELL in ended.log_tail
        assert len(ended.log_tail.splitlines()) <= 50
        assert builder.registry().presence(request.image) is Presence.ABSENT

    def test_starting_the_same_attempt_again_builds_nothing_again(
        self, builder: Builder, request_: MakeRequest
    ) -> None:
        request = request_({"train.py": "print(1)"})
        first = builder.start(request)
        again = builder.start(request)
        assert self.end(builder, request).phase is BuildPhase.SUCCEEDED
        late = builder.start(request)
        assert late.phase is BuildPhase.SUCCEEDED
        assert first.build_id == again.build_id == late.build_id
        assert self.times_built(builder, request) == 1

    def test_a_failed_attempt_started_again_stays_failed(
        self, builder: Builder, failing_request: MakeFailingRequest
    ) -> None:
        request = failing_request()
        builder.start(request)
        assert self.end(builder, request).phase is BuildPhase.FAILED
        assert builder.start(request).phase is BuildPhase.FAILED
        assert self.times_built(builder, request) == 1

    def test_of_racing_starters_one_builds(
        self, builder: Builder, fresh_builder: Builder, request_: MakeRequest
    ) -> None:
        request = request_({"train.py": "print(1)"})
        together = threading.Barrier(6)
        phases: list[BuildPhase] = []

        def start(which: Builder) -> None:
            together.wait()
            phases.append(which.start(request).phase)

        starters = [threading.Thread(target=start, args=[which]) for which in (builder, fresh_builder) * 3]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        assert self.end(builder, request).phase is BuildPhase.SUCCEEDED
        assert len(phases) == 6
        assert all(phase.alive or phase is BuildPhase.SUCCEEDED for phase in phases)
        assert self.times_built(builder, request) == 1

    def test_a_failed_build_can_be_tried_again_as_the_next_attempt(
        self, builder: Builder, request_: MakeRequest, failing_request: MakeFailingRequest
    ) -> None:
        failed = failing_request()
        builder.start(failed)
        assert self.end(builder, failed).phase is BuildPhase.FAILED
        retried = request_({"train.py": "print(2)"}, image=failed.image, attempt=failed.attempt + 1)
        assert builder.status(self.build_of(retried)).phase is BuildPhase.ABSENT
        builder.start(retried)
        ended = self.end(builder, retried)
        assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail
        assert builder.registry().presence(failed.image) is Presence.PRESENT

    def test_a_build_is_found_again_after_a_restart(
        self, builder: Builder, fresh_builder: Builder, request_: MakeRequest
    ) -> None:
        request = request_({"train.py": "print(1)"})
        builder.start(request)
        found = fresh_builder.status(self.build_of(request)).phase
        assert found.alive or found is BuildPhase.SUCCEEDED
        assert self.end(fresh_builder, request).phase is BuildPhase.SUCCEEDED
        assert fresh_builder.registry().presence(request.image) is Presence.PRESENT

    def test_a_failure_is_found_again_after_a_restart(
        self, builder: Builder, fresh_builder: Builder, failing_request: MakeFailingRequest
    ) -> None:
        request = failing_request()
        builder.start(request)
        ended = self.end(builder, request)
        assert fresh_builder.status(self.build_of(request)) == ended

    def test_the_context_may_be_deleted_as_soon_as_the_build_has_started(
        self, builder: Builder, request_: MakeRequest
    ) -> None:
        request = request_({"train.py": "print(1)", "deep/data.txt": "x"})
        builder.start(request)
        shutil.rmtree(request.context)
        ended = self.end(builder, request)
        assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail

    def test_two_images_are_two_builds(self, builder: Builder, request_: MakeRequest) -> None:
        one, other = request_({"train.py": "print(1)"}), request_({"train.py": "print(2)"})
        assert one.image != other.image
        builder.start(one)
        assert self.end(builder, one).phase is BuildPhase.SUCCEEDED
        assert builder.status(self.build_of(other)).phase is BuildPhase.ABSENT
        assert builder.status(self.build_of(replace(one, attempt=2))).phase in (
            BuildPhase.ABSENT,
            BuildPhase.SUCCEEDED,
        )
