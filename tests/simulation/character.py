"""What kind of world a seed makes: which faults there are and how often, how the vendors behave, what the queues are.

Few kinds of fault at a high rate find what all kinds at a low rate never do, so each schedule draws its own few.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from random import Random

from tests.simulation.builders import Manners
from tests.simulation.calls import KINDS, Mishaps
from tests.simulation.targets import ENDS, Habits

from slipway.model import Failure, Queue, TemplateVariable, Timeouts

MARK = "marked-5b1f-value"
"""An environment value of a queue. It belongs in its items, and in no log, message or reason."""


@dataclass(frozen=True)
class Character:
    calm: bool
    """Nothing goes wrong and nothing is lost or late: there, whatever can go on goes on at once."""
    mishaps: Mishaps
    habits: Habits
    manners: Manners
    queues: tuple[Queue, ...]
    start_lease: float
    limit: float
    """Seconds after which the platform kills an invocation."""
    skew: float
    late: float
    """Of how many messages one comes late, and so out of order."""
    twice: float
    """Of how many deliveries one is made twice."""
    lost: float
    """Of how many cloud events one never comes."""
    event_delay: float
    max_receives: int
    """Deliveries after which a message is a dead letter."""
    deletes_images: bool
    horizon: float
    """Seconds in which people do things, and faults happen."""
    submissions: int
    actions: int


def drawn(rng: Random) -> Character:
    calm = rng.random() < 0.3
    rate = 0.0 if calm else rng.choice((0.0, 0.004, 0.015, 0.05, 0.12))
    kinds = tuple(rng.sample(KINDS, rng.randint(1, len(KINDS))))
    names, builder_names = rng.random() < 0.5, rng.random() < 0.5
    start_lease = 120.0 if not names else rng.choice((10.0, 120.0))
    horizon = rng.choice((2.0, 10.0, 60.0, 200.0, 600.0))
    return Character(
        calm=calm,
        mishaps=Mishaps(
            rate,
            kinds,
            refusals=0.0 if calm else rng.choice((0.0, 0.0, 0.1, 0.5)),
            slow=0.0 if calm else rng.choice((0.0, 0.0, 0.3, 0.9)),
        ),
        habits=_habits(rng, names, calm),
        manners=_manners(rng, builder_names, calm),
        queues=tuple(_queue(rng, f"queue-{number}") for number in range(rng.choice((1, 1, 2)))),
        start_lease=start_lease,
        # Where the vendor gives the names, only a limit shorter than the lease keeps a worker that stood still from
        # starting what another has started meanwhile. Where it takes ours, no limit is needed.
        limit=inf if names and builder_names else 100.0,
        skew=0.0 if calm else rng.choice((0.0, 0.5, 3.0)),
        late=0.0 if calm else rng.choice((0.0, 0.2)),
        twice=rng.choice((0.0, 0.2)),
        lost=0.0 if calm else rng.choice((0.0, 0.3, 1.0)),
        event_delay=0.0 if calm else rng.choice((0.5, 40.0)),
        max_receives=rng.choice((2, 5, 5)),
        deletes_images=not calm and rng.random() < 0.1,
        horizon=horizon,
        submissions=rng.randint(1, 8),
        actions=rng.choice((0, 2, 6, 12)),
    )


def _habits(rng: Random, names: bool, calm: bool) -> Habits:
    ends = rng.choice((("finishes",), ("finishes", *rng.sample(sorted(ENDS), rng.randint(1, 3)))))
    if rng.random() < 0.05:
        ends = ("is preempted",)
    return Habits(
        takes_names=names,
        lag=0.0 if calm else rng.choice((0.0, 8.0, 14.0)),
        retries=rng.random() < 0.5,
        start=rng.choice(((0.1,), (0.1, 5.0), (0.1, 5.0, 30.0), (0.1, 0.1, 30.0, inf))),
        run=rng.choice(((1.0, 5.0), (1.0, 50.0), (1.0, 50.0, 200.0), (20.0, 20.0, inf))),
        ends=ends,
        forgets=rng.choice((0.0, 0.0, 0.2)),
        stop=rng.choice(((0.0,), (0.0, 5.0, 30.0), (100.0,))),
        deaf=0.0 if calm else rng.choice((0.0, 0.0, 0.4)),
        rejects=rng.choice((0.0, 0.0, 0.1)),
    )


def _manners(rng: Random, names: bool, calm: bool) -> Manners:
    return Manners(
        takes_names=names,
        seconds=rng.choice(((0.1, 3.0), (3.0, 30.0), (3.0, 100.0), (100.0, 700.0))),
        fails=rng.choice((0.0, 0.0, 0.3)),
        vanishes=0.0 if calm else rng.choice((0.0, 0.0, 0.2)),
        lag=0.0 if calm else rng.choice((0.0, 0.0, 20.0)),
    )


def _queue(rng: Random, name: str) -> Queue:
    covered = rng.random() < 0.4
    return Queue(
        entity="team",
        name=name,
        resource="local-container",
        config={"env": {"TOKEN": MARK}, "cpus": "{{cpus}}"},
        template_variables={"cpus": TemplateVariable("integer", default=1, minimum=1, maximum=8)},
        max_jobs=rng.choice((1, 1, 1, 2, 3, -1)),
        prioritization=rng.random() < 0.5,
        paused=rng.random() < 0.1,
        retries={str(failure): rng.randint(1, 2) for failure in Failure} if covered else {},
        timeouts=Timeouts(
            pending=rng.choice((600.0, 7200.0, 40000.0)),
            build=rng.choice((300.0, 1800.0)),
            start=rng.choice((90.0, 600.0)),
            run=rng.choice((100.0, 900.0)),
            stop=70.0,
        ),
    )
