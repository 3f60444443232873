"""The report, in sections that are made one by one: benchmarks/faults.json to compute with, faults.md to read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

OUT = Path("benchmarks")
TITLE = "# Jobs under faults\n\n`make faults` writes this."
SECTIONS = {
    "campaign": "Faults one by one and two by two",
    "out_of_step": "A process death while Redis is away",
    "states": "Redis not usable for a while",
    "throughput": "Two workers against one",
}
"""By their names in the JSON, their headings; in order."""


def write(out: Path, section: str, figures: Any, text: str) -> None:
    """Put a section in its place; the others stay as they are."""
    out.mkdir(parents=True, exist_ok=True)
    told, page = out / "faults.json", out / "faults.md"
    figures_there = json.loads(told.read_text()) if told.exists() else {}
    texts_there = _sections(page.read_text() if page.exists() else "")
    figures_there[section], texts_there[SECTIONS[section]] = figures, text.strip()
    kept = {name: figures_there[name] for name in SECTIONS if name in figures_there}
    told.write_text(json.dumps(kept, indent=1) + "\n")
    parts = [f"## {heading}\n\n{texts_there[heading]}" for heading in SECTIONS.values() if heading in texts_there]
    page.write_text("\n\n".join([TITLE, *parts]) + "\n")


def keep_log(folder: Path, kept: Path) -> None:
    """What the processes wrote, where a promise was broken."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("wb") as whole:
        for log in sorted(folder.rglob("log")):
            whole.write(f"==> {log.relative_to(folder)}\n".encode() + log.read_bytes())
    print(f"the processes' log is in {kept}")


def rows(heads: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (heads, ["---"] * len(heads), *lines))


def _sections(page: str) -> dict[str, str]:
    found = (part.partition("\n") for part in ("\n" + page).split("\n## ")[1:])
    return {heading.strip(): text.strip() for heading, _, text in found}
