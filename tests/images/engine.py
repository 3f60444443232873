"""An engine that builds and runs containers: Docker or Podman, and on Debian, as root, Podman from its packages.

Where images of others cannot be pulled, stand-ins are made of Debian's packages, under the names that the project's
files have for them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BASE = "docker.io/library/python:3.11-slim"
OTHERS = ("docker.io/library/redis:7.4-alpine", "docker.io/library/nginx:1.28-alpine")
PULL_SECONDS = 300
PACKAGES = ["buildah", "podman", "runc", "debootstrap", "netavark", "aardvark-dns", "catatonit", "iptables", "uidmap"]
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
SYSTEMD = Path("/run/systemd/system")
CONFIGURATION = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=10000:10000"]
"""
"""Where systemd does not run, as in a virtual machine of no more than a shell, Podman's own choices do not work."""
STAND_INS = f"""\
FROM {BASE}
RUN apt-get update -q && apt-get install -yq --no-install-recommends redis-server nginx-light \\
    && install -d -o redis -g redis /data
WORKDIR /data
"""


class NoEngine(Exception):
    """There is nothing to run containers with; the text says what to install."""


@dataclass(frozen=True)
class Engine:
    """A program for images and containers, one for compose files, and what a build takes beside."""

    program: str
    compose: Sequence[str]
    build_options: Sequence[str]
    environment: Mapping[str, str]

    def run(self, *arguments: str, seconds: float = 1800, check: bool = True) -> str:
        """What the engine prints, at once."""
        return self._run([self.program, *arguments], None, seconds, check)

    def logs(self, container: str) -> str:
        """The last that a container said, on both channels."""
        command = [self.program, "logs", "--tail", "30", container]
        said = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._environment(), text=True, check=False
        )
        return said.stdout

    def composed(self, folder: Path, *arguments: str, seconds: float = 1800) -> str:
        """The same of compose, on the file in a folder."""
        return self._run([*self.compose, *arguments], folder, seconds, True)

    def build(self, folder: Path, dockerfile: str, tag: str) -> None:
        """Build an image."""
        self.run("build", *self.build_options, "--file", str(folder / dockerfile), "--tag", tag, str(folder))

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _run(self, command: Sequence[str], folder: Path | None, seconds: float, check: bool) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def find_engine(scratch: Path) -> Engine:
    """Docker where its daemon answers, else Podman, which is installed where that can be; raises NoEngine."""
    docker = Engine("docker", ("docker", "compose"), (), {})
    if _answers(docker, "docker", "info") and _answers(docker, "docker", "compose", "version"):
        return docker
    if shutil.which("podman") is None:
        _install()
    environment = {}
    if not SYSTEMD.exists():
        (scratch / "containers.conf").write_text(CONFIGURATION)
        environment["CONTAINERS_CONF"] = str(scratch / "containers.conf")
    compose = _podman_compose(scratch)
    # The whole file system may be in one pod, but then each container has the name of all.
    podman = Engine(
        "podman",
        (compose, "--in-pod", "false"),
        ("--format", "docker", "--network", "host", "--pull=never", *_wheels()),
        environment,
    )
    _bring_images(podman, scratch)
    return podman


def _answers(engine: Engine, *command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _install() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoEngine("no Docker daemon answers and there is no podman; install one of them")
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(["apt-get", "install", "-yqq", "--no-install-recommends", *PACKAGES], check=True)


def _podman_compose(scratch: Path) -> str:
    if found := shutil.which("podman-compose"):
        return found
    subprocess.run([sys.executable, "-m", "venv", scratch / "tools"], check=True)
    subprocess.run([scratch / "tools/bin/pip", "install", "--quiet", "podman-compose>=1.5"], check=True)
    return str(scratch / "tools/bin/podman-compose")


def _wheels() -> list[str]:
    """Folders in which this machine's pip finds wheels, so that the one in the image does."""
    return [part for folder in _wheel_folders() for part in ("--volume", f"{folder}:{folder}:ro")]


def _wheel_folders() -> list[str]:
    command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [folder for folder in asked.split() if Path(folder).is_dir()]


def _bring_images(podman: Engine, scratch: Path) -> None:
    missing = [name for name in (BASE, *OTHERS) if not _has(podman, name)]
    if all(_pulled(podman, name) for name in missing):
        return
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise NoEngine(f"{', '.join(missing)} cannot be pulled, and to make stand-ins takes root and debootstrap")
    print(f"images-test: {', '.join(missing)} cannot be pulled; stand-ins are made of Debian's packages")
    if not _has(podman, BASE):
        _make_base(podman, scratch / "base")
    (scratch / "stand-ins.Dockerfile").write_text(STAND_INS)
    podman.build(scratch, "stand-ins.Dockerfile", OTHERS[0])
    for name in OTHERS[1:]:
        podman.run("tag", OTHERS[0], name)


def _has(podman: Engine, image: str) -> bool:
    return bool(podman.run("images", "--quiet", image, check=False).strip())


def _pulled(podman: Engine, image: str) -> bool:
    try:
        podman.run("pull", "--quiet", image, seconds=PULL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return _has(podman, image)


def _make_base(podman: Engine, root: Path) -> None:
    """Debian's Python in /usr/local, where the official image has its own."""
    release = next(
        line.partition("=")[2]
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    include = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", include, release, root], check=True, capture_output=True)
    if AUTHORITIES.exists():
        shutil.copy(AUTHORITIES, root / AUTHORITIES.relative_to("/"))
    subprocess.run(["chroot", root, "python3", "-m", "venv", "/usr/local"], check=True)
    links = "".join(f"\n    {folder}" for folder in _wheel_folders())
    (root / "etc/pip.conf").write_text(f"[global]\ncert = {AUTHORITIES}\n" + (links and f"find-links ={links}\n"))
    path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as packed:
        command = ["podman", "import", "--change", f"ENV {path}", "-", BASE]
        subprocess.run(command, stdin=packed.stdout, check=True, capture_output=True)
    shutil.rmtree(root)
