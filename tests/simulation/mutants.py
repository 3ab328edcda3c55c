"""The planted bugs: each a mistake that a launcher could make, and that the simulator must find.

The texts are those of the code as it is. A change of the code that a mutant was written against is reported as Gone.
"""

from __future__ import annotations

from tests.simulation.planting import Edit, Mutant
from tests.simulation.targets import LabelledTarget, NamedTarget

from slipway import launch, machine, step
from slipway.adapters.memory import store as memory_store
from slipway.adapters.memory.store import MemoryStore
from slipway.functions import advance, build, deliver, observe, submit, tick
from slipway.model import Act, Item, Lease, RunPhase, RunStatus, State
from slipway.ports import Ports


def believe(item_id: str, ports: Ports) -> None:
    """An event about a running item is taken for the news of its end."""
    item = ports.store.item(item_id)
    if item is not None and item.state is State.RUNNING:
        ended = RunStatus(RunPhase.FINISHED, exit_code=0)
        decision = machine.decide(item, machine.Facts(ports.clock.now(), run=ended))
        ports.store.save(decision.item, decision.slot)


def start_unclaimed(item: Item, act: Act, ports: Ports) -> None:
    if act is Act.START:
        ports.targets(item.resource).start(launch.launch(item, base_url=ports.base_url))


MUTANTS = (
    Mutant("409 treated as failure", (Edit(NamedTarget.start, "if ours is None:", "if True:"),)),
    Mutant(
        "no list by label before create",
        (
            Edit(
                LabelledTarget.start,
                "self._vendor.create(launch.run) if ours is None else ours",
                "self._vendor.create(launch.run)",
            ),
            Edit(
                NamedTarget.status,
                "status: RunStatus = self._vendor.describe(run)",
                "unknown = isinstance(self, LabelledTarget) and run.backend_id is None\n"
                "    status: RunStatus = RunStatus(RunPhase.ABSENT) if unknown else self._vendor.describe(run)",
            ),
        ),
    ),
    Mutant("wake-up lost on release", (Edit(advance.advance, "admit(item.queue, ports)", "pass"),)),
    Mutant(
        "a secret in the state",
        (
            Edit(
                step._start,
                "reason=error.message",
                "reason=error.message + str(ports.secrets.get('WANDB_API_KEY'))",
            ),
        ),
    ),
    Mutant("no lease", (Edit(Lease.guards, "self.act is act and now < self.until", "False"),)),
    Mutant(
        "claim after act",
        (
            Edit(
                step._claim,
                "return decision.act, ports.store.save(decision.item, decision.slot)",
                "start_unclaimed(decision.item, decision.act, ports)\n"
                "        return decision.act, ports.store.save(decision.item, decision.slot)",
            ),
        ),
        {"start_unclaimed": start_unclaimed},
    ),
    Mutant(
        "lease guarding every act",
        (
            Edit(
                machine.decide,
                "    match item.state:",
                "    if item.lease is not None and facts.now < item.lease.until:\n"
                "        return Decision(item)\n"
                "    match item.state:",
            ),
        ),
    ),
    Mutant("save without version guard", (Edit(MemoryStore.save, " or before.version != item.version", ""),)),
    Mutant(
        "release counted instead of set",
        (
            Edit(
                MemoryStore._release,
                "{(holder, n) for holder, n in taken if holder == item.id and n <= item.attempt}",
                "sorted(taken)[:1]",
            ),
        ),
    ),
    Mutant(
        "event payload trusted",
        (Edit(observe.observe, "advance(item_id, ports)", "believe(item_id, ports), advance(item_id, ports)"),),
        {"believe": believe},
    ),
    Mutant(
        "terminal item re-decided",
        (
            Edit(step.step, "if item.state.terminal:", "if False:"),
            Edit(machine.decide, "case State.STARTING | State.RUNNING:", "case State.STARTING | State.RUNNING | _:"),
            Edit(machine.decide, "        case _:\n            return Decision(item)", ""),
        ),
    ),
    Mutant(
        "running but absent restarted",
        (
            Edit(
                machine._absent,
                "unconfirmed = item.state is State.STARTING and item.backend_id is None",
                "unconfirmed = True",
            ),
        ),
    ),
    Mutant(
        "tick skips a state",
        (
            Edit(
                tick.tick,
                "for item_id in due:",
                "for item_id in [each for each in due if ports.store.item(each).state != 'starting']:",
            ),
        ),
    ),
    Mutant(
        "cancel ignored while building",
        (
            Edit(
                machine._over_before_start,
                "if item.desired is Desired.STOP:",
                "if item.desired is Desired.STOP and item.state is not State.BUILDING:",
            ),
        ),
    ),
    Mutant(
        "retry reuses the attempt number", (Edit(machine._again, "attempt=item.attempt + 1", "attempt=item.attempt"),)
    ),
    Mutant(
        "waiters of a build forgotten",
        (
            Edit(build._building, "due=now + LOOK_AT_BUILD", "due=None"),
            Edit(MemoryStore.wanting, "self._wanting.get(image, ())", "self._wanting.get(image, ())[:1]"),
        ),
    ),
    Mutant(
        "slot moved outside the save",
        (
            Edit(
                step._claim,
                "return decision.act, ports.store.save(decision.item, decision.slot)",
                "first = ports.store.save(item, decision.slot)\n"
                "        return decision.act, ports.store.save(decision.item.but(version=first.version))",
            ),
        ),
    ),
    Mutant("build record without guard", (Edit(MemoryStore.save_build, "!= build.version", "< 0"),)),
    Mutant(
        "cap off by one", (Edit(MemoryStore._acquire, "len(taken) >= queue.max_jobs", "len(taken) > queue.max_jobs"),)
    ),
    Mutant("last in, first out", (Edit(MemoryStore.head, "line[0][1]", "line[-1][1]"),)),
    Mutant("priority ignored", (Edit(memory_store._row, "(item.priority, item.id)", "(0, item.id)"),)),
    Mutant(
        "idempotency key ignored",
        (Edit(MemoryStore.create, "if key[1] is not None and key in self._idempotency:", "if False:"),),
    ),
    Mutant(
        "submission taken twice off the bus",
        (Edit(deliver._submit, 'if message.id and document.get("idempotency_key") is None:', "if False:"),),
    ),
    Mutant(
        "time-out taken for a refusal",
        (Edit(step._start, "except Refused as refusal:", "except Temporary as refusal:"),),
    ),
    Mutant(
        "one stale absence believed",
        (
            Edit(machine._absent, "if item.missing_since is None:", "if False:"),
            Edit(machine._absent, "if now < item.missing_since + ABSENCE:", "if False:"),
        ),
    ),
    Mutant(
        "a stop asked for once",
        (Edit(machine._alive, "known.lease.guards(Act.STOP, now)", "known.lease.act is Act.STOP"),),
    ),
    Mutant("a preemption keeps the slot", (Edit(machine._again, "slot=_release(item)", "slot=Slot.KEEP"),)),
    Mutant("a pause ignored", (Edit(machine._ready, "and not queue.paused ", ""),)),
    Mutant("a drain ignored", (Edit(submit._queue, "if queue.draining:", "if False:"),)),
    Mutant(
        "a late run left alone",
        (
            Edit(tick._stop_orphans, "target.stop(run)", "pass"),
            Edit(step._stop_latecomer, "ports.targets(item.resource).stop(run_of(item))", "pass"),
            Edit(step._note, "ports.targets(item.resource).stop(unwanted)", "pass"),
        ),
    ),
    Mutant("resumed without end", (Edit(machine._preempted, "item.resumes >= item.max_resumes", "False"),)),
    Mutant("a deadline without effect", (Edit(machine._over_before_start, "now >= item.deadline", "False"),)),
)
