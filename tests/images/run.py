"""The images as an operator has them: `make images-test` builds them, runs compose with them, and breaks nothing.

It prints a line for each thing that it saw, with its figures, and ends with 1 at the first that is not as promised.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.images.engine import SYSTEMD, Engine, NoEngine, find_engine
from tests.support.documents import README, ROOT, SEPARATOR, Document, in_one_shell, prints, steps

PATIENCE = 900.0
"""Seconds; spent only where what is waited for does not happen."""
IMAGES = ("lig-api", "lig-worker")
SERVICES = {"nginx", "redis", "api", "worker"}
QUEUED = 24


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--keep", action="store_true", help="do not remove the images that were built")
    keep = arguments.parse_args().keep
    with tempfile.TemporaryDirectory(prefix="lig-images-") as name:
        try:
            engine = find_engine(Path(name))
        except NoEngine as error:
            sys.exit(f"images-test: {error}")
        checkout = Path(name) / "lig-images-test"
        _copy(checkout)
        try:
            _build(engine, checkout)
            Site(engine, checkout).try_everything()
        finally:
            if not keep:
                engine.run("rmi", "--force", *IMAGES, check=False)


def say(what: str, since: float | None = None, more: str = "") -> None:
    """Print a line of the report."""
    print(f"{what}: {more}{'' if since is None else f'{time.monotonic() - since:.0f} s'}", flush=True)


def _copy(checkout: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for file in listed.splitlines():
        if (ROOT / file).is_file():
            (checkout / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, checkout / file)


def _build(engine: Engine, checkout: Path) -> None:
    for image in IMAGES:
        dockerfile = f"docker/{image.removeprefix('lig-')}.Dockerfile"
        begun = time.monotonic()
        engine.build(checkout, dockerfile, image)
        size = int(engine.run("image", "inspect", "--format", "{{.Size}}", image))
        say(f"{image} built", begun, f"{size / 1e6:.0f} MB, {_packages_in(engine, image)} packages in its bill, ")
    with (checkout / "service/__init__.py").open("a") as file:
        file.write("\n# a change\n")
    for image in IMAGES:
        begun = time.monotonic()
        engine.build(checkout, f"docker/{image.removeprefix('lig-')}.Dockerfile", image)
        say(f"{image} built again after a change of code", begun)


def _packages_in(engine: Engine, image: str) -> int:
    """How many packages the bill of materials in an image lists."""
    command = ("run", "--rm", "--entrypoint", "cat", image, f"/usr/local/share/lig/{image}.cdx.json")
    names = {component["name"] for component in json.loads(engine.run(*command))["components"]}
    needed = {"lig-api": {"lig-service", "fastapi"}, "lig-worker": {"lig-service", "torch"}}[image]
    _require(needed <= names, f"the bill of {image} lacks {needed - names}")
    return len(names)


class Site:
    """The project's compose file, run in a copy of the checkout."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        (folder / ".env").write_text(f"LIG_PORT={self._port}\n")
        (folder / "secrets").mkdir(mode=0o700)
        (folder / "secrets/lig_redis_url").write_text(f"redis://:{secrets.token_hex(24)}@redis:6379/0\n")
        (folder / "models").mkdir()

    def try_everything(self) -> None:
        """Start, use, take down with jobs queued, start again, stop."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=90) as client, self._healthchecks():
            try:
                self._start(client, "started")
                self._use(client)
                jobs = self._queue(client)
                self._compose("down", "taken down with jobs queued")
                self._start(client, "started again")
                self._wait_for(client, jobs)
                self._stop()
            except Exception:
                for container in self._containers():
                    print(f"--- {container['name']}", self._engine.logs(container["id"]))
                raise
            finally:
                self._engine.composed(self._folder, "down", "--volumes")

    def _compose(self, command: str, what: str) -> None:
        begun = time.monotonic()
        self._engine.composed(self._folder, *command.split())
        say(what, begun)

    def _start(self, client: httpx.Client, what: str) -> None:
        begun = time.monotonic()
        self._engine.composed(self._folder, "up", "--detach", "--no-build")
        ready = _until(lambda: _answer(client, "/readyz"), "the service is ready")
        _until(self._all_healthy, "every container is healthy")
        say(f"{what}, all {len(self._containers())} containers healthy", begun, f"{ready['promise']}, ")

    def _use(self, client: httpx.Client) -> None:
        begun = time.monotonic()
        todo = [step for block in Document(README).runnable("console") for step in steps(block)]
        commands = in_one_shell(todo).replace("localhost:8000", f"localhost:{self._port}")
        printed = _shell(commands, self._folder).split(SEPARATOR)[1:]
        for step, output in zip(todo, printed, strict=True):
            _require(step.output is None or prints(step.output, output), f"{step.place} says {output}")
        say(f"the README's curl session, {len(todo)} commands", begun)
        request = {"text": "The same is asked twice.", "model": "minilm", "granularity": "layer"}
        first = client.post("/v1/explain", json=request, headers={"Prefer": "wait=60"}).json()
        _until(lambda: client.get(f"/v1/jobs/{first['id']}?wait=30").json()["status"] == "succeeded", "a job is done")
        begun = time.monotonic()
        again = client.post("/v1/explain", json=request)
        reused = (again.status_code, again.json()["status"], again.json()["coalesced"])
        _require(reused == (200, "succeeded", True), f"the same request again was not answered at once: {again.text}")
        say("the same request again", None, f"its result reused, {1000 * (time.monotonic() - begun):.0f} ms")

    def _queue(self, client: httpx.Client) -> list[str]:
        texts = [f"Text number {number} waits for its turn." for number in range(QUEUED)]
        answer = client.post("/v1/explain/batch", json={"texts": texts, "options": {"model": "minilm"}})
        answer.raise_for_status()
        return [job["id"] for job in answer.json()["jobs"]]

    def _wait_for(self, client: httpx.Client, jobs: list[str]) -> None:
        begun = time.monotonic()
        for job in jobs:
            shown = _until(lambda job=job: _ended(client, job), "a job has ended")
            _require(shown["status"] == "succeeded", f"a job ended otherwise: {shown}")
        say(f"{len(jobs)} of {len(jobs)} jobs that were queued before", begun, "succeeded, ")

    def _stop(self) -> None:
        begun = time.monotonic()
        ids = [container["id"] for container in self._containers()]
        self._engine.composed(self._folder, "stop")
        codes = {}
        for container in ids:
            name, code = self._engine.run("inspect", "--format", "{{.Name}} {{.State.ExitCode}}", container).split()
            codes[name] = int(code)
        _require(set(codes.values()) == {0}, f"exit codes: {codes}")
        say(f"stopped, {len(codes)} exit codes of 0", begun)

    def _containers(self) -> list[dict[str, str]]:
        listed = self._engine.run(
            "ps", "--all", "--filter", f"name={self._folder.name}", "--format", "{{.ID}} {{.Names}}"
        )
        return [dict(zip(("id", "name"), line.split(), strict=True)) for line in listed.splitlines()]

    def _all_healthy(self) -> bool:
        states = [
            json.loads(self._engine.run("inspect", container["id"], check=False) or "[{}]")[0].get("State", {})
            for container in self._containers()
        ]
        found = [(state.get("Health") or state.get("Healthcheck") or {}).get("Status") for state in states]
        services = {service for service in SERVICES for each in self._containers() if service in each["name"]}
        return services == SERVICES and set(found) == {"healthy"}

    @contextmanager
    def _healthchecks(self) -> Iterator[None]:
        """Podman has systemd run them; where that is not there, they are run here."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(5):
                for container in self._containers():
                    self._engine.run("healthcheck", "run", container["id"], check=False)

        thread = threading.Thread(target=look)
        if self._engine.program == "podman" and not SYSTEMD.exists():
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if thread.ident is not None:
                thread.join()


def _shell(commands: str, folder: Path) -> str:
    """What they print; raises AssertionError, with that, where one fails."""
    done = subprocess.run(["bash", "-c", commands], cwd=folder, capture_output=True, text=True, check=False)
    _require(done.returncode == 0, f"ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _answer(client: httpx.Client, path: str) -> Any:
    try:
        answer = client.get(path)
    except httpx.TransportError:
        return None
    return answer.json() if answer.is_success else None


def _ended(client: httpx.Client, job: str) -> Any:
    shown = client.get(f"/v1/jobs/{job}?wait=30&embed=false").json()
    return shown if shown["status"] in {"succeeded", "failed", "cancelled"} else None


def _until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        _require(time.monotonic() < deadline, f"it did not happen within {PATIENCE:g} s that {what}")
        time.sleep(0.5)
    return found


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


if __name__ == "__main__":
    main()
