"""Where things stand: the root of the repository, and the programs that tests run in place of the product's own."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTED = ROOT / "tests" / "scripted"
CHILD, WORKER, SERVE = (SCRIPTED / f"scripted_{name}.py" for name in ("child", "worker", "serve"))
