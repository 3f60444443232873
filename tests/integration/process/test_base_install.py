"""`lig` with the base install alone: computes at a service and writes what it sends, or says what is missing."""

import subprocess
import sys
import tomllib

import httpx
import pytest

from lig_core.serving.queue import names
from service.keys.keyring import ANONYMOUS
from tests.running.waiting import PATIENCE, wait_until
from tests.support.made_results import made_result
from tests.support.places import ROOT

TEXT = "The cat sat."

# Runs the command in a Python that finds none of the packages after it.
WITHOUT = """
import sys
absent, sys.argv = set(sys.argv[1].split(",")), ["lig", *sys.argv[2:]]

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from lig_core.cli import main
main()
"""
EXTRAS = {"numpy", "torch", "transformers", "safetensors", "zstandard", "tokenizers", "networkx", "greenlet"} | {
    *("fastapi", "starlette", "uvicorn", "redis", "rq", "pydantic_settings", "prometheus_client", "werkzeug"),
    *("standardwebhooks", "fastapi_offline"),
}


@pytest.fixture
def lig():
    started = []

    def start(*arguments):
        command = [sys.executable, "-c", WITHOUT, ",".join(EXTRAS), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_all_that_the_base_install_lacks_is_absent_here():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = {line for extra in ("core", "api", "worker") for line in project["optional-dependencies"][extra]}
    named = {line.partition(">=")[0].partition("[")[0].replace("-", "_") for line in packages} - {"lig_service"}
    servers_own = {"uvloop", "httptools"}
    assert named - servers_own <= EXTRAS


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "ndjson", "json", "html"])
def test_a_service_s_result_is_written_in_every_format(start_api, by_hand, lig, redis, tmp_path, suffix):
    b, url, file = by_hand(), start_api(), tmp_path / f"result.{suffix}"
    process = lig("explain", TEXT, "--model", "minilm", "--server", url, "-o", file)
    wait_until(lambda: redis.zcard(names.key("waiting", "lig")) or process.poll() is not None)
    b.finish_with(b.start(), made_result())
    out, said = process.communicate(timeout=PATIENCE)
    assert (out, process.returncode, said.count("\n")) == ("", 0, 1)
    assert said.startswith(f"lig: wrote {file}: ")
    (job,) = b.store.list(ANONYMOUS.name, limit=10).jobs
    result = httpx.get(f"{url}/v1/jobs/{job.id}/result", headers={"Accept": "*/*"})
    if suffix == "json":
        assert httpx.Response(200, content=file.read_bytes()).json() == result.json()
    elif suffix == "html":
        assert "made-up" in file.read_text()
    else:
        media_type = {"ndjson": "x-ndjson", "npz": "x-npz", "safetensors": "vnd.safetensors"}[suffix]
        sent = httpx.get(f"{url}/v1/jobs/{job.id}/result", headers={"Accept": f"application/{media_type}"})
        assert file.read_bytes() == sent.content


@pytest.mark.parametrize(
    "arguments", [("explain", TEXT, "--model", "minilm"), ("boundaries", "minilm", "--weights")], ids=" ".join
)
def test_computing_here_says_in_one_line_what_is_missing(lig, arguments):
    process = lig(*arguments)
    out, said = process.communicate(timeout=PATIENCE)
    assert (out, process.returncode) == ("", 2)
    assert said.startswith("lig: torch is not installed") and said.count("\n") == 1
    assert "lig-service[core]" in said and "--server" in said
