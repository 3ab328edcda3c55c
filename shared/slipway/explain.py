"""Why an item is where it is, and what would change that: one sentence for people, the facts behind it for programs.

Reads the store alone, never a backend: an explanation must be cheap, and must work while a backend does not answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from slipway.model import ArchiveSource, Desired, GitSource, Item, Json, Queue, Stage, State
from slipway.ports import Ports
from slipway.views import masked, timestamp

_NAMED = 3
"""Slot holders that are named in a sentence; the facts name all."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One sentence, and the facts it was made from (plain JSON, times as RFC 3339)."""

    sentence: str
    facts: Mapping[str, Json]


def explain(item: Item, ports: Ports, *, workers: bool = True) -> Explanation:
    """`workers` is whether anything is up that takes steps; without it nothing moves, and the sentence says so."""
    now = ports.clock.now()
    facts: dict[str, Json] = {
        "state": item.state.value,
        "since": timestamp(_since(item)),
        "deadline": timestamp(item.deadline),
        "desired": item.desired.value,
        "attempt": item.attempt,
        "workers": workers,
    }
    if item.state.terminal:
        return _told(_over(item, facts), facts)
    if item.deadline is not None and now >= item.deadline:
        facts["overdue"] = True
        sentence = (
            f"It is past its deadline for {item.state} ({_when(item.deadline, now)}), "
            "so the next tick, within a minute, ends it"
        )
    else:
        sentence = _LIVE[item.state](item, now, facts, ports)
    if not workers:
        sentence += ", but no worker is up, so nothing moves until one is: start `slipway up`"
    return _told(f"{sentence}.", facts)


def _told(sentence: str, facts: Mapping[str, Json]) -> Explanation:
    """Sources and reasons may hold a URL with a password in it."""
    return Explanation(masked(sentence), masked(facts))


def _pending(item: Item, now: float, facts: dict[str, Json], ports: Ports) -> str:
    queue = ports.store.queue(item.queue)
    facts["queue"] = str(item.queue)
    if item.desired is not Desired.RUN:
        return "It was cancelled before it started, and its next step, within seconds, stops it"
    if queue is None:
        return f"Its queue {item.queue} was deleted, so its next step fails it: submit it to another queue"
    if item.image is None:
        source = _source(item)
        facts["source"] = source
        if item.refusals and item.lease is not None and item.lease.until > now:
            facts["refusals"] = item.refusals
            when = _when(item.lease.until, now)
            return f"Its source {source} cannot be prepared yet ({_first_line(item.reason)}): it is tried again {when}"
        again = ""
        if item.lease is not None and item.lease.until > now:
            again = f" (begun again {_when(item.lease.until, now)} if nothing has come of it by then)"
        return f"Its source {source} is being resolved to a revision and held against the images there are{again}"
    if queue.paused:
        facts["paused"] = True
        return f"Its queue '{queue.name}' is paused: `slipway queue resume {queue.name}` lets it start"
    if item.not_before > now:
        facts["not_before"] = timestamp(item.not_before)
        facts["refusals"] = item.refusals
        until = f", and given up {_when(item.deadline, now)}" if item.deadline is not None else ""
        if not item.refusals:
            reason = _first_line(item.reason)
            return f"It failed and waits for its next attempt ({reason}): that begins {_when(item.not_before, now)}"
        return (
            f"The backend refused it for now ({_first_line(item.reason)}): "
            f"it is tried again {_when(item.not_before, now)}{until}"
        )
    resumed = f"After preemption, resume {item.resumes} of {item.max_resumes}: " if item.resumes else ""
    line = _in_line(item, queue, facts, ports)
    return resumed + (line[0].lower() + line[1:] if resumed else line)


def _in_line(item: Item, queue: Queue, facts: dict[str, Json], ports: Ports) -> str:
    facts["max_jobs"] = queue.max_jobs
    soon = "it starts at its next step, by the next tick at the latest"
    if not queue.capped:
        return f"Nothing stands in its way (queue '{queue.name}' has no max_jobs): {soon}"
    ahead = ports.store.ahead(item)
    holders = sorted(ports.store.slots(queue.key))
    names = [_run_name(holder, ports) for holder in holders[:_NAMED]]
    facts.update(ahead=ahead, slots=holders)
    place = "Next in line" if ahead == 0 else f"{_ordinal(ahead + 1)} in line"
    if len(holders) < queue.max_jobs:
        if ahead == 0:
            return f"{place} for queue '{queue.name}', with a free slot: {soon}"
        return (
            f"{place} for queue '{queue.name}', with a free slot: {_count(ahead, 'item')} ahead of it must start first"
        )
    if len(holders) == 1:
        used = f"its only slot is in use by {names[0]}"
    else:
        more = f" and {len(holders) - _NAMED} more" if len(holders) > _NAMED else ""
        used = f"{'both' if len(holders) == 2 else f'all {len(holders)}'} slots are in use by {', '.join(names)}{more}"
    rank = " (or a lower priority number moves it up)" if queue.prioritization and ahead else ""
    turn = "one of them ends" if len(holders) > 1 else f"{names[0]} ends"
    first = f" and the {_count(ahead, 'item')} ahead of it{' have' if ahead > 1 else ' has'} started" if ahead else ""
    return (
        f"{place} for queue '{queue.name}': {used} (max_jobs: {queue.max_jobs}), "
        f"so it starts when {turn}{first}{rank}, or when max_jobs is raised"
    )


def _building(item: Item, now: float, facts: dict[str, Json], ports: Ports) -> str:
    facts["image"] = item.image
    if item.desired is not Desired.RUN:
        return "It was cancelled while its image was being built, and its next step, within seconds, stops it"
    others = len([each for each in ports.store.wanting(item.image or "") if each != item.id])
    facts["others"] = others
    share = f"; {_count(others, 'other item')} wait{'s' if others == 1 else ''} for the same image" if others else ""
    limit = f", or fails {_when(item.deadline, now)}" if item.deadline is not None else ""
    return (
        f"Its image {item.image} has been building for {_span(now - _since(item))}{share}: "
        f"it goes on when the build ends{limit}"
    )


def _starting(item: Item, now: float, facts: dict[str, Json], _: Ports) -> str:
    if item.desired is not Desired.RUN:
        return _stopping(item, now, facts)
    limit = f", or is given up {_when(item.deadline, now)}" if item.deadline is not None else ""
    facts["trouble"] = item.trouble
    word = f" ({_first_line(item.trouble or item.reason)})" if item.trouble or item.reason else ""
    return (
        f"Its start was asked of {item.resource} {_span(now - _since(item))} ago{word}: "
        f"it is running once the backend says so{limit}"
    )


def _running(item: Item, now: float, facts: dict[str, Json], _: Ports) -> str:
    if item.desired is not Desired.RUN:
        return _stopping(item, now, facts)
    since = item.started_at if item.started_at is not None else _since(item)
    facts["running_seconds"] = round(now - since, 3)
    limit = f", or is stopped {_when(item.deadline, now)}, its time limit" if item.deadline is not None else ""
    facts["trouble"] = item.trouble
    trouble = f", and something is wrong ({_first_line(item.trouble)})" if item.trouble else ""
    return (
        f"It has been running on {item.resource} for {_span(now - since)}{trouble}: it ends by itself, "
        f"by `slipway cancel {item.id}`{limit}"
    )


def _stopping(item: Item, now: float, facts: dict[str, Json]) -> str:
    why = "It was cancelled" if item.desired is Desired.STOP else "It is past its time limit"
    by = ""
    if item.lease is not None and item.lease.until > now:
        facts["stop_until"] = timestamp(item.lease.until)
        by = f", and is asked again {_when(item.lease.until, now)}"
    end = "stopped" if item.desired is Desired.STOP else "failed"
    return f"{why} and {item.resource} is stopping it: it is {end} once the backend says it is gone{by}"


def _over(item: Item, facts: dict[str, Json]) -> str:
    reason = _first_line(item.reason).rstrip(".")
    facts.update(ended_at=timestamp(item.ended_at), reason=item.reason, exit_code=item.exit_code)
    ran = ""
    if item.started_at is not None and item.ended_at is not None:
        ran = f" after {_span(item.ended_at - item.started_at)}"
    if item.state is State.FINISHED:
        return f"It finished{ran}{_tail(reason)}: nothing is left to do."
    if item.state is State.STOPPED:
        return f"It was stopped{ran}{_tail(reason)}: `slipway retry {item.id}` submits it again."
    stage = item.stage or Stage.RUN
    facts["stage"] = stage.value
    return f"It failed{ran} in stage {stage}{_tail(reason)}: {_CURES[stage].format(id=item.id)}."


def _tail(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _since(item: Item) -> float:
    """When it came to the state it is in."""
    for moment in reversed(item.timeline):
        if moment.state is item.state:
            return moment.at
    return item.created_at


def _source(item: Item) -> str:
    match item.submission.job.source:
        case GitSource(uri, version):
            return f"{uri}@{version}" if version else uri
        case ArchiveSource(uri):
            return uri
        case image:
            return image.image


def _run_name(holder: str, ports: Ports) -> str:
    item_id = holder.rpartition(".")[0]
    item = ports.store.item(item_id)
    return item_id if item is None else item.submission.name or item_id


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _when(at: float, now: float) -> str:
    """`at 14:05:09 UTC`, with the day where it is not today's."""
    if at - now > 3653 * 86400:
        return "in more than ten years"
    then, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    day = "" if then.date() == today.date() else f"{then:%Y-%m-%d} "
    return f"at {day}{then:%H:%M:%S} UTC"


def _span(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        hours, minutes = whole // 3600, whole % 3600 // 60
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = whole // 86400, whole % 86400 // 3600
    return f"{days} d {hours} h" if hours else f"{days} d"


_LIVE = {
    State.PENDING: _pending,
    State.PREEMPTED: _pending,
    State.BUILDING: _building,
    State.STARTING: _starting,
    State.RUNNING: _running,
}

_CURES = {
    Stage.VALIDATE: "correct the launch spec and submit it again",
    Stage.BUILD: "correct the source or its Dockerfile and `slipway retry {id}`; `slipway show {id}` has the log's end",
    Stage.LAUNCH: "remove the cause and `slipway retry {id}`",
    Stage.RUN: "`slipway logs {id}` shows why, `slipway retry {id}` runs it again",
}
