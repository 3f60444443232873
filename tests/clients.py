"""A client that openapi-python-client makes of the API's description completes a job: `make clients-test`.

The generator has an environment of its own. What it could not make of a route it only warns of: here that is a failure.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
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


def main() -> None:
    python = ENVIRONMENT / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", GENERATOR], check=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generate = [ENVIRONMENT / "bin" / "openapi-python-client", "generate", "--meta", "none"]
        places = ["--path", ROOT / "openapi" / "openapi.json", "--output-path", folder / "lig_client"]
        path = f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}"  # of ruff, which tidies what was generated
        made = subprocess.run(
            [*generate, *places], check=False, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        printed = made.stdout + made.stderr
        if made.returncode or "will not be generated" in printed or "Unable to parse" in printed:
            sys.exit(f"no whole client could be generated:\n{printed}")
        _complete_a_job(python, folder)


def _complete_a_job(python: Path, folder: Path) -> None:
    served = subprocess.Popen(
        [sys.executable, "-m", "lig_core.cli", "serve", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        assert served.stdout is not None
        address = served.stdout.readline().split()[4]
        command = [python, "-c", JOB, address]
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    finally:
        served.send_signal(signal.SIGTERM)
        served.wait()
    print(done.stdout, end="")
    if done.stdout.splitlines() != SAID:
        sys.exit(f"expected {SAID}\n{done.stderr}")


if __name__ == "__main__":
    main()
