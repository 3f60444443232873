"""Writes the API's description, the same bytes every time: `python -m service.commands.openapi [file]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from service.app import create_app
from service.jobs.redis_store import RqJobStore
from service.settings import Settings

FILE = Path("openapi/openapi.json")


def document() -> str:
    """The description as it stands in the repository."""
    settings = Settings.model_construct()  # the defaults, whatever the environment says
    store = RqJobStore("redis://localhost", settings)  # connects only when used
    return json.dumps(create_app(settings, store).openapi(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_text(document())
