"""Programs that tests need and pip does not bring: a browser, a Redis, an nginx, curl, jq, npm, and npm's packages.

`python -m tests.programs` brings what is missing, where it can: as root, through apt-get. `require` gives a test its
program, or skips the test and says how to get it; under CI=true, where nobody reads that, the test fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest

from service.process.embedded import EmbeddedRedisError, find_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLAYWRIGHTS_PLACES = (".cache/ms-playwright", "Library/Caches/ms-playwright")
"""Under the home folder, on Linux and macOS."""
PLAYWRIGHTS_BROWSERS = ("chrome", "headless_shell", "chrome-headless-shell", "*.app/Contents/MacOS/*")

NODE_PACKAGES = Path(__file__).parents[1] / "viewer/node_modules"
APT_OPTIONS = (
    "DPkg::Lock::Timeout=120",
    "Acquire::Retries=2",
    "Acquire::http::Timeout=20",
    "APT::Install-Recommends=0",
)
APT_SECONDS = 600


def find_browser() -> Path | None:
    """A Chromium that runs: on the PATH, else Playwright's own."""
    return next(filter(_runs, _browsers()), None)


def _browsers() -> Iterator[Path]:
    for name in BROWSERS:
        if found := shutil.which(name):
            yield Path(found)
    places = [Path(place) for place in [os.environ.get("PLAYWRIGHT_BROWSERS_PATH")] if place]
    with suppress(RuntimeError):  # no home
        places += [Path.home() / place for place in PLAYWRIGHTS_PLACES]
    for place in places:
        for pattern in PLAYWRIGHTS_BROWSERS:
            yield from sorted(place.glob(f"chromium*/*/{pattern}"), reverse=True)


def _runs(browser: Path) -> bool:
    """Ubuntu's chromium-browser is a script that asks for a snap."""
    try:
        done = subprocess.run([browser, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def find_redis() -> Path | None:
    """What the service itself would start."""
    try:
        return find_server()
    except EmbeddedRedisError:
        return None


def find_installed(name: str) -> Path | None:
    """On the PATH, or where Debian puts programs: the PATH of those who are not root leads to some of these alone."""
    path = shutil.which(name) or shutil.which(name, path="/usr/bin:/usr/sbin")
    return Path(path) if path else None


@dataclass(frozen=True)
class Program:
    """How one is found, the package of Debian's that brings it, and how else to get it."""

    find: Callable[[], Path | None]
    package: str
    advice: str


PROGRAMS = {
    "Chromium": Program(find_browser, "chromium", "`apt-get install chromium`, or `playwright install chromium`"),
    "redis-server": Program(find_redis, "redis-server", "`apt-get install redis-server`, or `brew install redis`"),
    "nginx": Program(
        partial(find_installed, "nginx"), "nginx-light", "`apt-get install nginx-light`, or `brew install nginx`"
    ),
    "curl": Program(partial(find_installed, "curl"), "curl", "`apt-get install curl`, or `brew install curl`"),
    "npm": Program(partial(find_installed, "npm"), "npm", "`apt-get install npm`, or `brew install node`"),
    "systemd-analyze": Program(
        partial(find_installed, "systemd-analyze"), "systemd", "`apt-get install systemd`; there is none but on Linux"
    ),
    "jq": Program(partial(find_installed, "jq"), "jq", "`apt-get install jq`, or `brew install jq`"),
}


@cache
def found(name: str) -> Path | None:
    """Where a program is."""
    return PROGRAMS[name].find()


def in_ci() -> bool:
    """Whether nobody looks at skipped tests."""
    return os.environ.get("CI", "").lower() in {"true", "1"}


def require(name: str) -> Path:
    """Where a program is; without it, the test that asks is skipped, or fails under CI=true."""
    path = found(name)
    if path is None:
        (pytest.fail if in_ci() else pytest.skip)(f"needs {name}: {PROGRAMS[name].advice}")
    return path


def require_packages() -> Path:
    """The folder of what the viewer is built and tested with; without it, as without a program."""
    require("npm")
    if not NODE_PACKAGES.is_dir():
        (pytest.fail if in_ci() else pytest.skip)("needs the viewer's packages: `make viewer/node_modules`")
    return NODE_PACKAGES


def bring() -> None:
    """Install what is missing; where that is not possible, say in a line each what is."""
    _bring_programs()
    if found("npm") is not None and not NODE_PACKAGES.is_dir():
        command = ["make", "--no-print-directory", "viewer/node_modules"]
        if subprocess.run(command, cwd=NODE_PACKAGES.parents[1], check=False).returncode != 0:
            print("tests: npm could not bring the viewer's packages", file=sys.stderr)


def _bring_programs() -> None:
    missing = [name for name in PROGRAMS if found(name) is None]
    if not missing:
        return
    why = install([PROGRAMS[name].package for name in missing])
    found.cache_clear()
    for name in missing:
        if found(name) is None:
            print(f"tests: no {name} ({why}); {PROGRAMS[name].advice}", file=sys.stderr)


def install(packages: list[str]) -> str:
    """Through apt-get; why that brought nothing, if so."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "installing it takes root and apt-get"
    options = [part for option in APT_OPTIONS for part in ("-o", option)]
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # at 1, no package starts a service
    said = ""
    for command in (
        ["update"],
        ["install", "--yes", "--no-install-recommends", *packages],
    ):  # without lists of packages, install alone finds none
        try:
            done = subprocess.run(
                ["apt-get", "--quiet=2", *options, *command],
                env=quietly,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=APT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"apt-get took more than {APT_SECONDS} s"
        said = "".join(done.stderr.splitlines()[-1:]) or said
    return said or "apt-get brought one that does not run"


if __name__ == "__main__":
    bring()
