"""Writes the table of all settings from their own descriptions: `python -m generate.settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from service.settings import Settings as ServiceSettings
from worker.settings import Settings as WorkerSettings

FILE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """# Settings

Every setting is an environment variable. Durations are seconds, sizes bytes; lists are JSON. `lig serve --check`
and `lig worker --check` print those in force, secrets masked. This table is made by `make settings` from
`service/settings.py`, `worker/settings.py` and, for what both read, `lig_core/serving/settings.py`: nothing else reads
the environment.

Where a variable is not set, a file of its name in lower case is read, such as `/run/secrets/lig_redis_url`, or the one
that systemd's `LoadCredential=` passes on.

| variable | read by | default | what it says |
|---|---|---|---|
"""


def table() -> str:
    """The page as it stands in the repository."""
    sides: dict[str, type[BaseSettings]] = {"service": ServiceSettings, "worker": WorkerSettings}
    names = [
        *ServiceSettings.model_fields,
        *(n for n in WorkerSettings.model_fields if n not in ServiceSettings.model_fields),
    ]
    rows = []
    for name in names:
        readers = {side: kind.model_fields[name] for side, kind in sides.items() if name in kind.model_fields}
        said = dict.fromkeys(_meaning(field) for field in readers.values())
        defaults = dict.fromkeys(_default(field) for field in readers.values())
        rows.append(f"| `LIG_{name.upper()}` | {', '.join(readers)} | {' / '.join(defaults)} | {' / '.join(said)} |\n")
    return HEAD + "".join(rows)


def _meaning(field: Any) -> str:
    choices = [value for value in get_args(field.annotation) if isinstance(value, str)]
    listed = f" One of {', '.join(f'`{value}`' for value in choices)}." if choices else ""
    return f"{field.description or ''}{listed}".strip()


def _default(field: Any) -> str:
    if field.default is PydanticUndefined or field.default is None:
        return "–"
    return f"`{field.default}`"


if __name__ == "__main__":
    FILE.write_text(table(), encoding="utf-8")
