"""Log lines of the service and the worker: one JSON object a line, or text. Imports no torch.

Only the fields named here are written beside the message, so that no text under explanation and no key slips in.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from typing_extensions import override

FIELDS = (
    *("request_id", "job_id", "trace_id", "caller", "method", "route"),
    *("model", "attempt", "status", "seconds"),
)
"""The fields that a line may carry beside its message, given as `extra`, by `about` or by `only_about`."""

OWN_LOGGERS = ("lig_core", "service", "worker")

_context: ContextVar[Mapping[str, Any] | None] = ContextVar("lig_log_context", default=None)


def about(**fields: str) -> None:
    """Give every line logged from here on, in this task or thread, these fields."""
    _context.set({**(_context.get() or {}), **fields})


@contextmanager
def only_about(**fields: Any) -> Iterator[None]:
    """Give every line logged in this block these fields, and none that were given outside."""
    before = _context.set(fields)
    try:
        yield
    finally:
        _context.reset(before)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a line: those given with it, else those of its context."""
    given = {**(_context.get() or {}), **record.__dict__}
    return {name: given[name] for name in FIELDS if given.get(name) is not None}


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, the fields there are, and the traceback of an exception."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """The same as text for people: the message, and the fields as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_on_one_line(value)}" for name, value in fields_of(record).items())
        return super().formatMessage(record) + fields


def _on_one_line(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() else ascii(text)


def configure(form: Literal["json", "text"], level: str) -> None:
    """Send every logger's lines to standard error: our own from `level` on, other libraries' from `warning` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    least = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING), force=True)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(least)
