"""What operators are given, tried: `make deploy-test` has promtool look at the rules, and Podman run the manifests.

It prints a line for each thing that it saw, and ends with 1 at the first that is not as promised.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests import programs
from tests.images.engine import Engine, NoEngine, find_engine
from tests.support.manifests import container, named, pod
from tests.support.places import ROOT

PATIENCE = 600.0
"""Seconds; spent only where what is waited for does not happen."""
PORT = 8000
NETWORK = "lig-deploy-test"
PROMETHEUS = ROOT / "docker/deploy/prometheus"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
CHECKS = (
    ("check", "rules", "rules.yml"),
    ("check", "config", "--syntax-only", "prometheus.yml"),
    ("test", "rules", "rules_test.yml"),
)


def main() -> None:
    promtool = programs.find_installed("promtool")
    if promtool is None:
        programs.install(["prometheus"])
        promtool = programs.find_installed("promtool")
    if promtool is None:
        sys.exit("deploy-test: needs promtool: `apt-get install prometheus`, or `brew install prometheus`")
    for check in CHECKS:
        subprocess.run([promtool, *check], cwd=PROMETHEUS, check=True)
    with tempfile.TemporaryDirectory(prefix="lig-deploy-") as name:
        try:
            engine = find_engine(Path(name))
        except NoEngine as error:
            sys.exit(f"deploy-test: {error}")
        if engine.program != "podman":
            sys.exit("deploy-test: Docker runs no manifests; install podman")
        for image in ("api", "worker"):
            engine.build(ROOT, f"docker/{image}.Dockerfile", f"lig-{image}")
        Cluster(engine, Path(name)).try_everything()


class Cluster:
    """The pods of docker/deploy/kubernetes, one of each, as Podman runs them."""

    def __init__(self, engine: Engine, scratch: Path) -> None:
        self._engine, self._scratch = engine, scratch
        self._played: list[Path] = []
        self._ids: dict[str, str] = {}
        self._secrets = scratch / "secrets"
        self._secrets.mkdir()
        self._password = secrets.token_hex(24)

    def try_everything(self) -> None:
        """Start all, have the probes of each, complete a job, stop."""
        self._engine.run("network", "create", NETWORK)
        try:
            self._write_secret("redis")
            self._write_keys()
            redis = self._play("redis")
            self._write_secret(redis)
            address = self._play("lig-api")
            self._play("lig-worker")
            self._wait_for_probes(address)
            self._complete_a_job(address)
            self._stop()
        except Exception:
            for name, container_id in self._ids.items():
                print(f"--- {name}", self._engine.logs(container_id))
            raise
        finally:
            for manifest in reversed(self._played):
                self._engine.run("kube", "down", str(manifest), check=False)
            self._engine.run("network", "rm", "--force", NETWORK, check=False)

    def _write_secret(self, host: str) -> None:
        (self._secrets / "lig_redis_url").write_text(f"redis://:{self._password}@{host}:6379/0\n")

    def _write_keys(self) -> None:
        command = [
            sys.executable,
            "-m",
            "lig_core.cli",
            "keys",
            "new",
            "deploy-test",
            "--scopes",
            "explain,read,metrics",
            "--file",
        ]
        file = self._secrets / "keys.json"
        self._key = subprocess.run([*command, file], capture_output=True, text=True, check=True).stdout.strip()
        file.chmod(0o644)

    def _play(self, name: str) -> str:
        """Run a Deployment's pod; its address."""
        deployment = named("Deployment")[name]
        manifest = self._scratch / f"{name}.yaml"
        manifest.write_text(yaml.safe_dump(self._for_podman(deployment)))
        begun = time.monotonic()
        self._played.append(manifest)
        said = self._engine.run("kube", "play", "--network", NETWORK, str(manifest)).split()
        self._ids[name] = said[said.index("Container:") + 1]
        infra = json.loads(self._engine.run("pod", "inspect", said[said.index("Pod:") + 1]))["InfraContainerID"]
        (inspected,) = json.loads(self._engine.run("inspect", infra))
        print(f"{name} played: {time.monotonic() - begun:.0f} s", flush=True)
        return inspected["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]

    def _for_podman(self, deployment: dict[str, Any]) -> dict[str, Any]:
        """A Deployment as older Podmans know them: its volumes are folders, and no port of it is this machine's.

        Its probes are made here, for Podman leaves them to systemd.
        """
        for volume in pod(deployment)["volumes"]:
            name, folder = volume["name"], self._secrets
            if "secret" not in volume:
                folder = self._scratch / deployment["metadata"]["name"] / name
                folder.mkdir(parents=True)
                folder.chmod(0o777)
            volume.clear()
            volume.update(name=name, hostPath={"path": str(folder), "type": "Directory"})
        for part in ("ports", *PROBES):
            container(deployment).pop(part, None)
        return deployment

    def _wait_for_probes(self, address: str) -> None:
        begun = time.monotonic()
        for name, deployment in named("Deployment").items():
            only = container(deployment)
            for kind in PROBES:
                if kind in only:
                    probe = only[kind]
                    _until(lambda name=name, probe=probe: self._holds(name, address, probe), f"{kind} of {name}")
        print(f"all probes hold: {time.monotonic() - begun:.0f} s", flush=True)

    def _holds(self, name: str, address: str, probe: dict[str, Any]) -> bool:
        if "httpGet" in probe:
            try:
                return httpx.get(f"http://{address}:{PORT}{probe['httpGet']['path']}", timeout=60).is_success
            except httpx.TransportError:
                return False
        command = ["sh", "-c", '"$@" && echo holds', "sh", *probe["exec"]["command"]]
        return self._engine.run("exec", self._ids[name], *command, check=False).endswith("holds\n")

    def _stop(self) -> None:
        for name, deployment in reversed(named("Deployment").items()):
            begun = time.monotonic()
            grace = pod(deployment)["terminationGracePeriodSeconds"]
            self._engine.run("stop", "--time", str(grace), self._ids[name])
            code = self._engine.run("inspect", "--format", "{{.State.ExitCode}}", self._ids[name]).strip()
            if code != "0":
                raise AssertionError(f"{name} ended with {code}")
            print(f"{name} stopped, of {grace} s: {time.monotonic() - begun:.0f} s", flush=True)

    def _complete_a_job(self, address: str) -> None:
        begun = time.monotonic()
        headers = {"Authorization": f"Bearer {self._key}"}
        with httpx.Client(base_url=f"http://{address}:{PORT}", headers=headers, timeout=90) as client:
            answer = client.post("/v1/explain", json={"text": "The cat sat.", "model": "minilm"})
            answer.raise_for_status()
            job = f"/v1/jobs/{answer.json()['id']}"
            shown = _until(lambda: _ended(client, job), "a job has ended")
            if shown["status"] != "succeeded":
                raise AssertionError(f"the job ended otherwise: {shown}")
            print(f"a job completed: {time.monotonic() - begun:.0f} s", flush=True)
            lines = client.get("/metrics").text.splitlines()
        for name in ("process_resident_memory_bytes", "lig_workers_resident_bytes"):
            (value,) = (float(line.split()[1]) for line in lines if line.startswith(f"{name} "))
            print(f"{name}: {value / 1e6:.0f} MB")


def _ended(client: httpx.Client, job: str) -> Any:
    shown = client.get(f"{job}?wait=30&embed=false").json()
    return shown if shown["status"] in {"succeeded", "failed", "cancelled"} else None


def _until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen within {PATIENCE:g} s: {what}")
        time.sleep(0.5)
    return found


if __name__ == "__main__":
    main()
