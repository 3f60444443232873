"""The API's description by those who read it: `make clients-test`.

Redocly and Spectral find nothing in it, by the rules in openapi/. The client that openapi-python-client makes of it
completes a job, and so does that of openapi-typescript, which the compiler finds no fault with. Each tool has an
environment of its own. What openapi-python-client could not make of a route it only warns of: here that is a failure.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-clients"
GENERATOR = "openapi-python-client>=0.26"
JOB = """
import sys
from lig_client.api.explain import estimate, explain
from lig_client.api.jobs import delete_job, read_job
from lig_client.client import Client
from lig_client.models.explain_request import ExplainRequest
from lig_client.models.explain_request_granularity_type_0 import ExplainRequestGranularityType0 as Maps

client = Client(base_url=sys.argv[1], timeout=120)
request = ExplainRequest(text="The cat sat.", model="minilm", granularity=Maps.LAYER, layers=[0])
print("estimate:", estimate.sync(client=client, body=request).tokens, "tokens")
job = explain.sync(client=client, body=request)
while (status := str(job.status)) in ("queued", "running"):
    job = read_job.sync(job.id, client=client, wait=30.0, embed=False)
print("job:", status)
print("deleted:", delete_job.sync_detailed(job.id, client=client).status_code.value)
"""
SAID = ["estimate: 6 tokens", "job: succeeded", "deleted: 204"]
DESCRIPTION = ROOT / "openapi" / "openapi.json"
TYPESCRIPT = ROOT / "tests" / "typescript"
SAID_BY_TYPESCRIPT = ["job: succeeded", "tokens: [CLS] the cat sat . [SEP]", "converged: true"]


def main() -> None:
    ENVIRONMENT.mkdir(exist_ok=True)
    node = _node()
    _lint(node)
    with tempfile.TemporaryDirectory() as scratch, _served(Path(scratch)) as address:
        _python(Path(scratch), address)
        _typescript(node, address)


def _node() -> Path:
    """The folder of what package.json names, installed at the versions of its lock."""
    if shutil.which("npm") is None:
        sys.exit("the linters and the TypeScript client take node: install nodejs and npm")
    folder = ENVIRONMENT / "node"
    shutil.copytree(TYPESCRIPT, folder, dirs_exist_ok=True)
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", "ci", *quiet], check=True, cwd=folder)
    return folder


def _run(node: Path, tool: str, *arguments: str | Path) -> None:
    subprocess.run([node / "node_modules" / ".bin" / tool, *arguments], check=True, cwd=node)


def _lint(node: Path) -> None:
    redocly, spectral = (DESCRIPTION.with_name(f"{name}.yaml") for name in ("redocly", "spectral"))
    _run(node, "redocly", "lint", "--config", redocly, "--format", "github-actions", DESCRIPTION)
    _run(node, "spectral", "lint", "--ruleset", spectral, "--fail-severity", "hint", DESCRIPTION)


def _python(folder: Path, address: str) -> None:
    python = ENVIRONMENT / "python" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", GENERATOR], check=True)
    generate = [python.with_name("openapi-python-client"), "generate", "--meta", "none"]
    places = ["--path", DESCRIPTION, "--output-path", folder / "lig_client"]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # of ruff, which tidies what was generated
    made = subprocess.run(
        [*generate, *places], check=False, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    printed = made.stdout + made.stderr
    if made.returncode or "will not be generated" in printed or "Unable to parse" in printed:
        sys.exit(f"no whole client could be generated:\n{printed}")
    _expect(SAID, [python, "-c", JOB, address], folder)


def _typescript(node: Path, address: str) -> None:
    _run(node, "openapi-typescript", DESCRIPTION, "--default-non-nullable=false", "--output", node / "api.d.ts")
    _run(node, "tsc", "--project", node)
    _expect(SAID_BY_TYPESCRIPT, ["node", node / "made" / "job.js", address], node)


def _expect(said: list[str], command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    print(done.stdout, end="")
    if done.stdout.splitlines() != said:
        sys.exit(f"expected {said}\n{done.stderr}")


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The address of a service that is stopped in the end."""
    served = subprocess.Popen(
        [sys.executable, "-m", "lig_core.cli", "serve", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        assert served.stdout is not None
        yield served.stdout.readline().split()[4]
    finally:
        served.send_signal(signal.SIGTERM)
        served.wait()


if __name__ == "__main__":
    main()
