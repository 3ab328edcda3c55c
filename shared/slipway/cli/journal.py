"""Slipway's log on standard error, for people or for programs: time, level, item, what changed."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime


def configure(as_json: bool) -> None:
    """Slipway's own log at INFO, other libraries' from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine() if as_json else Line())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("slipway").setLevel(logging.INFO)


class Line(logging.Formatter):
    """`14:05:09 info     0dh2… train/root  starting → running`"""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        facts = _facts(record)
        where = f"{facts['item']} " if "item" in facts else ""
        return f"{at} {record.levelname.lower():7} {where}{record.getMessage()}{self._traceback(record)}"

    def _traceback(self, record: logging.LogRecord) -> str:
        return f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""


class JsonLine(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, message, and item, queue, state, reason where they apply."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _facts(record: logging.LogRecord) -> Mapping[str, str]:
    facts: Mapping[str, str] = getattr(record, "facts", {})
    return facts
