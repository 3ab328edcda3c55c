"""CodeBuild on loopback, spoken to by the unmodified boto3: its life cycle, its quota and its refusals.

moto's CodeBuild says SUCCEEDED at the first look, and forgets the variables that a build was started with. Builds here
wait their turn, and either go on as a test tells them or (`runs=True`) really run; see `codebuild_run.py`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from tests.standins.aws.codebuild_build import COMMAND_FAILED, Build, Project
from tests.standins.aws.codebuild_run import Run
from tests.standins.aws.json_service import JsonService, ServiceError

from slipway.adapters.aws.clients import Clients

TOKEN_SECONDS = 300.0
"""How long an idempotency token is remembered."""
QUEUED_PER_CONCURRENT = 5
"""https://docs.aws.amazon.com/codebuild/latest/userguide/builds-working.html"""
PAGE = 100

OnEvent = Callable[[dict[str, Any]], None]


class CodeBuild(JsonService):
    """`concurrent` builds run at once, whatever their project; a new account may have 1. `on_event` gets the envelopes
    of EventBridge, in order, in a thread of its own. `aws` leads to S3 and CloudWatch, which really running needs."""

    service = "codebuild"
    invalid = "InvalidInputException"

    def __init__(
        self,
        *,
        concurrent: int = 1,
        on_event: OnEvent | None = None,
        runs: bool = False,
        aws: Clients | None = None,
        docker: str = "docker",
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(host)
        self.builds: dict[str, Build] = {}
        """By id, in the order in which they were started."""
        self._concurrent = concurrent
        self._aws, self._docker, self._really = aws, docker, runs
        self._projects: dict[str, Project] = {}
        self._tokens: dict[str, tuple[float, Mapping[str, Any], Build]] = {}
        self._running: dict[str, Run] = {}
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._teller = threading.Thread(target=self._tell, args=(on_event,), name="codebuild events", daemon=True)

    def operations(self) -> Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "StartBuild": self._start_build,
            "StopBuild": self._stop_build,
            "BatchGetBuilds": self._batch_get_builds,
            "ListBuildsForProject": self._list_builds_for_project,
            "BatchGetProjects": self._batch_get_projects,
        }

    # --- what a test does to it

    def create_project(self, name: str, **settings: Any) -> Project:
        """As a template does at its deployment. `settings` are fields of Project."""
        with self.lock:
            self._projects[name] = Project(name, **settings)
            return self._projects[name]

    def enter(self, build_id: str, phase: str) -> None:
        """The build goes on to this phase, those between ending well."""
        with self.lock:
            if not self.builds[build_id].over:
                self.builds[build_id].enter(phase, self.now())

    def end(self, build_id: str, status: str = "SUCCEEDED", message: str = "", code: str = COMMAND_FAILED) -> None:
        """The build is over; of one that failed, in the phase where it is. One that is over stays as it is."""
        with self.lock:
            build = self.builds[build_id]
            if build.over:
                return
            build.end(status, self.now(), message, code)
            if run := self._running.pop(build_id, None):
                run.kill()
            self._announce(build)
            self._admit()

    def forget(self, build_id: str) -> None:
        """As CodeBuild does after a year, or whoever deletes a build."""
        with self.lock:
            del self.builds[build_id]

    def advanced(self) -> None:
        for build in list(self.builds.values()):
            waiting = build.phase == "QUEUED"
            limit = build.project.queued_timeout if waiting else build.project.timeout
            since = build.phase_started if waiting else build.started
            if not build.over and self.now() - since > limit * 60:
                self.end(build.id, "TIMED_OUT", "Build timed out.", "BUILD_TIMED_OUT")

    # --- its life

    def start(self) -> Self:
        self._teller.start()
        return super().start()

    def stop(self) -> None:
        """Builds that still run are ended, and the last event is told."""
        with self.lock:
            runs = list(self._running.values())
            self._concurrent = 0
            for build in self.builds.values():
                self.end(build.id, "STOPPED")
        for run in runs:
            run.join()
        self._events.put(None)
        self._teller.join()
        super().stop()

    # --- operations

    def _start_build(self, order: dict[str, Any]) -> dict[str, Any]:
        project = self._project(order["projectName"])
        token = order.get("idempotencyToken")
        if token in self._tokens:
            at, known_order, known = self._tokens[token]
            if self.now() - at < TOKEN_SECONDS:
                if known_order != order:
                    raise ServiceError(self.invalid, "Parameter mismatch: the idempotency token was used with others")
                return {"build": known.shown()}
        self._make_room(project)
        build = Build(project, order, len(self.builds) + 1, self.now())
        self.builds[build.id] = build
        if token:
            self._tokens[token] = (self.now(), order, build)
        shown = build.shown()
        self._announce(build)
        self._admit()
        return {"build": shown}

    def _stop_build(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["id"] not in self.builds:
            raise ServiceError("ResourceNotFoundException", f"Build {asked['id']} cannot be found")
        self.end(asked["id"], "STOPPED")
        return {"build": self.builds[asked["id"]].shown()}

    def _batch_get_builds(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [self.builds[each].shown() for each in asked["ids"] if each in self.builds]
        missing = [each for each in asked["ids"] if each not in self.builds]
        return {"builds": found, **({"buildsNotFound": missing} if missing else {})}

    def _list_builds_for_project(self, asked: dict[str, Any]) -> dict[str, Any]:
        project = self._project(asked["projectName"])
        ids = [build.id for build in self.builds.values() if build.project.name == project.name]
        if asked.get("sortOrder", "DESCENDING") == "DESCENDING":
            ids.reverse()
        begin = int(asked.get("nextToken", 0))
        # By AWS's model a list of identifiers is never empty: it is left out.
        page = {"ids": ids[begin : begin + PAGE]} if ids[begin:] else {}
        return {**page, **({"nextToken": str(begin + PAGE)} if ids[begin + PAGE :] else {})}

    def _batch_get_projects(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = [self._projects[name] for name in asked["names"] if name in self._projects]
        return {
            "projects": [{"name": project.name, "arn": project.arn} for project in known],
            "projectsNotFound": [name for name in asked["names"] if name not in self._projects],
        }

    # --- its inside

    def _project(self, name: str) -> Project:
        if name not in self._projects:
            raise ServiceError("ResourceNotFoundException", f"Project cannot be found: {Project(name).arn}")
        return self._projects[name]

    def _make_room(self, project: Project) -> None:
        active = [build for build in self.builds.values() if not build.over]
        ours = [build for build in active if build.project.name == project.name]
        limit = project.concurrent_limit
        if limit is not None and len(ours) >= limit:
            raise ServiceError(
                "AccountLimitExceededException", f"Cannot have more than {limit} active builds for the project"
            )
        room = QUEUED_PER_CONCURRENT * self._concurrent
        if len(active) >= self._concurrent + room:
            raise ServiceError(
                "AccountLimitExceededException", f"Cannot have more than {room} builds in queue for the account"
            )

    def _admit(self) -> None:
        active = [build for build in self.builds.values() if not build.over]
        waiting = [build for build in active if build.phase == "QUEUED"]
        for build in waiting[: max(0, self._concurrent - (len(active) - len(waiting)))]:
            build.enter("PROVISIONING", self.now())
            if self._really:
                assert self._aws is not None, "a build that really runs has its source in S3"
                self._running[build.id] = Run(build, self, self._aws, self._docker)
                self._running[build.id].start()

    def _announce(self, build: Build) -> None:
        self._events.put(build.event(self.now()))

    def _tell(self, on_event: OnEvent | None) -> None:
        while (event := self._events.get()) is not None:
            if on_event is not None:
                on_event(event)
