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
from lig_core.experiment.measured import Measured

SCHEMA = """
CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY, document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS measured (number INTEGER PRIMARY KEY, sentence BLOB, left_out TEXT);
"""


class Ledger:
    """The file of one run; `asked` is what was asked for. Raises InvalidRequest for that of another."""

    def __init__(self, path: Path, asked: Mapping[str, Any]) -> None:
        self._folder = path.parent
        try:
            self._rows = sqlite3.connect(path, timeout=60)
            self._rows.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise InvalidRequest(f"'{path}' is no ledger of an experiment ({error}); name another folder") from None
        self._same("asked", asked)

    @property
    def setup(self) -> dict[str, Any]:
        """All that the numbers depend on: what was asked, and the receipt."""
        held = dict(self._rows.execute("SELECT name, document FROM parts"))
        return {**orjson.loads(held["asked"]), **orjson.loads(held.get("receipt", b"{}"))}

    def computed_with(self, receipt: Mapping[str, Any]) -> None:
        """What sentences were measured with: the same for all; raises InvalidRequest where it is another."""
        self._same("receipt", receipt)

    def _same(self, part: str, document: Mapping[str, Any]) -> None:
        written = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        with self._rows:
            self._rows.execute("INSERT OR IGNORE INTO parts VALUES (?, ?)", (part, written))
        (found,) = self._rows.execute("SELECT document FROM parts WHERE name = ?", (part,)).fetchone()
        if found != written:
            other, own = orjson.loads(found), orjson.loads(written)
            differing = sorted(name for name in own | other if own.get(name) != other.get(name))
            raise InvalidRequest(
                f"'{self._folder}' holds a run with other {', '.join(differing)}; "
                "ask for the same, or name another folder"
            )

    def __len__(self) -> int:
        (count,) = self._rows.execute("SELECT count(*) FROM measured").fetchone()
        return int(count)

    def done(self) -> set[int]:
        """The numbers of the sentences that are in it."""
        return {number for (number,) in self._rows.execute("SELECT number FROM measured")}

    def add(self, number: int, measured: Measured | None, left_out: str | None = None) -> None:
        """Keep one sentence, or why it was left out; on return it is on the disk."""
        data = None if measured is None else measured.to_bytes()
        with self._rows:
            self._rows.execute("INSERT OR IGNORE INTO measured VALUES (?, ?, ?)", (number, data, left_out))

    def __iter__(self) -> Iterator[Measured]:
        """The sentences that were measured, by number, one in memory at a time."""
        rows = self._rows.execute("SELECT sentence FROM measured WHERE sentence IS NOT NULL ORDER BY number")
        return (Measured.from_bytes(data) for (data,) in rows)

    def left_out(self) -> dict[str, int]:
        """How many sentences were left out, by why."""
        rows = self._rows.execute("SELECT left_out, count(*) FROM measured WHERE sentence IS NULL GROUP BY left_out")
        return dict(rows.fetchall())

    def close(self) -> None:
        """Close the file."""
        self._rows.close()
