"""The measure of the house: `python -m tests.house` prints it, and exits with 1 where it does not hold.

Directions are import-linter's (pyproject.toml); here is what it does not count: files a room, names, circles, and the
walk of a request, the product's files that one `POST /v1/explain` enters when everything is warm.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

import grimp

ROOT = Path(__file__).parents[1]
PACKAGES = ("lig", "lig_core", "service", "worker")
MOST_FILES = 12
LONGEST_WALK = 28
REQUESTS = 6
GENERATED = Path("lig_core/client/sync.py")


def tracked() -> list[Path]:
    """The product's files that git tracks, relative to the root."""
    command = ["git", "ls-files", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.splitlines()]


def modules() -> list[Path]:
    """The Python files among them, but for those that only name a package."""
    return [path for path in tracked() if path.suffix == ".py" and path.stem != "__init__"]


def written_lines() -> int:
    """Lines of code that people write, Python and Lua."""
    written = [path for path in tracked() if path.suffix in (".py", ".lua") and path != GENERATED]
    return sum(len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in written)


def crowded() -> list[str]:
    """Rooms with more than MOST_FILES files, of any kind."""
    counts = Counter(path.parent for path in tracked())
    return [f"{room}: {count} files" for room, count in sorted(counts.items()) if count > MOST_FILES]


def repeated() -> list[str]:
    """Names that two files of one package have."""
    places = defaultdict(list)
    for path in modules():
        places[path.parts[0], path.stem].append(str(path))
    return [" and ".join(paths) for paths in places.values() if len(paths) > 1]


def circles() -> list[str]:
    """Modules that import each other, directly or by way of others."""
    graph = grimp.build_graph(*PACKAGES)
    found = []
    for module in sorted(graph.modules):
        chain = next(
            (
                [module, *(graph.find_shortest_chain(imported, module) or ())]
                for imported in sorted(graph.find_modules_directly_imported_by(module))
                if graph.find_shortest_chain(imported, module)
            ),
            None,
        )
        if chain:
            found.append(" -> ".join(chain))
    return found


def walk() -> list[str]:
    """The product's files that one warm request enters, in the order of entering.

    The shortest of a few: what is known of a model is looked at again after a second, which a busy machine may take.
    """
    from fastapi.testclient import TestClient

    from service.app import create_app
    from service.jobs.redis_store import RqJobStore
    from service.process.embedded import embedded_redis
    from service.settings import Settings

    entered: dict[str, None] = {}
    recording = False

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if recording and event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            path = Path(frame.f_code.co_filename).relative_to(ROOT)
            if path.parts[0] in PACKAGES:
                entered[str(path)] = None

    threading.setprofile(note)
    with tempfile.TemporaryDirectory() as folder, embedded_redis(Path(folder)) as redis:
        settings = Settings()
        with TestClient(create_app(settings, RqJobStore(redis.url, settings))) as client:
            walks = []
            for number in range(REQUESTS):
                entered.clear()
                recording = True
                answer = client.post("/v1/explain", json={"text": f"cat {number}", "model": "minilm"})
                recording = False
                assert answer.status_code == 202, answer.text
                walks.append(list(entered))
    threading.setprofile(None)
    return min(walks, key=len)


def main() -> None:
    entered = walk()
    print(f"{len(modules())} files, {written_lines()} lines; POST /v1/explain enters {len(entered)} files")
    if "--walk" in sys.argv:
        print("\n".join(entered))
    faults = [
        *(f"a room of more than {MOST_FILES} files: {room}" for room in crowded()),
        *(f"one name, two files: {pair}" for pair in repeated()),
        *(f"a circle of imports: {circle}" for circle in circles()),
        *([f"the walk of a request is longer than {LONGEST_WALK} files"] if len(entered) > LONGEST_WALK else []),
    ]
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
