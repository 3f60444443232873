"""What a run has measured, in one SQLite file: a row for each sentence, written whole or not at all.

So a run that was killed goes on where it was, and no sentence counts twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lig_core.errors import InvalidRequest
from lig_core.experiment.measures import Measured

SCHEMA = """
CREATE TABLE IF NOT EXISTS setup (only INTEGER PRIMARY KEY CHECK (only = 0), document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sentences (number INTEGER PRIMARY KEY, measured BLOB, left_out TEXT);
"""


class Ledger:
    """The file of one run; `setup` is all that its numbers depend on. Raises InvalidRequest for that of another."""

    def __init__(self, path: Path, setup: Mapping[str, Any]) -> None:
        try:
            self._rows = sqlite3.connect(path, timeout=60)
            self._rows.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise InvalidRequest(f"'{path}' is no ledger of an experiment ({error}); name another folder") from None
        written = orjson.dumps(setup, option=orjson.OPT_SORT_KEYS)
        with self._rows:
            self._rows.execute("INSERT OR IGNORE INTO setup VALUES (0, ?)", (written,))
        (found,) = self._rows.execute("SELECT document FROM setup").fetchone()
        if found != written:
            other, own = orjson.loads(found), orjson.loads(written)
            differing = sorted(name for name in own | other if own.get(name) != other.get(name))
            raise InvalidRequest(
                f"'{path.parent}' holds a run with other {', '.join(differing)}; ask for the same, or name another one"
            )

    def __len__(self) -> int:
        (count,) = self._rows.execute("SELECT count(*) FROM sentences").fetchone()
        return int(count)

    def done(self) -> set[int]:
        """The numbers of the sentences that are in it."""
        return {number for (number,) in self._rows.execute("SELECT number FROM sentences")}

    def add(self, number: int, measured: Measured | None, left_out: str | None = None) -> None:
        """Keep one sentence, or why it was left out; on return it is on the disk."""
        data = None if measured is None else measured.to_bytes()
        with self._rows:
            self._rows.execute("INSERT OR IGNORE INTO sentences VALUES (?, ?, ?)", (number, data, left_out))

    def __iter__(self) -> Iterator[Measured]:
        """The sentences that were measured, by number, one in memory at a time."""
        rows = self._rows.execute("SELECT measured FROM sentences WHERE measured IS NOT NULL ORDER BY number")
        return (Measured.from_bytes(data) for (data,) in rows)

    def left_out(self) -> dict[str, int]:
        """How many sentences were left out, by why."""
        rows = self._rows.execute("SELECT left_out, count(*) FROM sentences WHERE measured IS NULL GROUP BY left_out")
        return dict(rows.fetchall())

    def close(self) -> None:
        """Close the file."""
        self._rows.close()
