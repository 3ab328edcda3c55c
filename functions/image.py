"""What an item's image is made of, told at any time later although nothing of it was kept.

A recorded revision never changes, so its source is fetched again and planned again. That the source hash comes out the
same is checked, and said where it does not.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Problem
from slipway.functions.build import fetch_and_plan
from slipway.functions.control import existing
from slipway.model import ImageSource, Item
from slipway.ports import Ports
from slipway.provenance import Provenance


def explain_image(item_id: str, ports: Ports) -> Provenance:
    """The inputs of the image that Slipway built, or is building, for an item.

    Raises NotFound for an unknown item and for a source that is gone, Invalid for an item whose image is not of
    Slipway's making or not known yet, and what `sources.fetch` raises.
    """
    item = existing(item_id, ports)
    revision = _revision(item)
    with tempfile.TemporaryDirectory(prefix="slipway-source-") as folder:
        try:
            plan = fetch_and_plan(item, revision, Path(folder), ports)
        except (Invalid, Forbidden):
            raise
        except Permanent as error:
            raise NotFound(
                f"what the image of item '{item_id}' was made from cannot be had again: {error.message}. "
                "Bring it back under the address that was submitted; the image itself needs nothing of it"
            ) from error
        sizes = {entry.path: (plan.context / entry.path).lstat().st_size for entry in plan.entries}
    return Provenance(item, plan, sizes)


def _revision(item: Item) -> str:
    source = item.submission.job.source
    if isinstance(source, ImageSource):
        rule = f"it runs the image {source.image}, which was submitted and not made by Slipway: nothing is known of it"
        raise Invalid(Problem("item", rule, item.id, f"`docker image inspect {source.image}` tells what is in it."))
    if not item.built:
        rule = f"its code is mounted in {item.image or 'a base image'}, so that no image was made of it"
        raise Invalid(Problem("item", rule, item.id, f"`slipway show {item.id}` has the code's revision."))
    if item.revision is None or item.source_hash is None:
        if item.state.terminal:
            rule = f"it is {item.state}, and never came to have an image ({item.reason})"
            raise Invalid(Problem("item", rule, item.id, f"`slipway retry {item.id}` tries again."))
        rule = "its source is not resolved yet, so its image is not known"
        raise Invalid(Problem("item", rule, item.id, f"`slipway explain {item.id}` says what it waits for."))
    return item.revision
