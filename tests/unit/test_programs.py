"""Programs that tests need: found wherever they are, brought by apt-get, and never missed in silence."""

import os

import pytest

from tests import programs


def program(path, act="exit 0"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{act}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _nothing_is_known():
    programs.found.cache_clear()
    yield
    programs.found.cache_clear()


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Neither on the PATH nor at home is a browser."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PLAYWRIGHT_BROWSERS_PATH", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", programs.BROWSERS)
def test_a_browser_on_the_path_is_found(nowhere, name):
    assert programs.find_browser() is None
    path = program(nowhere / "bin" / name)
    assert programs.find_browser() == path


@pytest.mark.parametrize(
    "place",
    [
        "chromium-1200/chrome-linux/chrome",
        "chromium-1200/chrome-linux64/chrome",
        "chromium_headless_shell-1200/chrome-linux/headless_shell",
        "chromium_headless_shell-1200/chrome-headless-shell-linux64/chrome-headless-shell",
    ],
)
def test_playwright_s_own_browser_is_found(nowhere, monkeypatch, place):
    at_home = program(nowhere / "home/.cache/ms-playwright" / place)
    assert programs.find_browser() == at_home
    elsewhere = program(nowhere / "elsewhere" / place)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(nowhere / "elsewhere"))
    assert programs.find_browser() == elsewhere


def test_a_browser_that_does_not_run_is_none(nowhere):
    program(nowhere / "bin/chromium-browser", "echo please install a snap >&2; exit 10")
    assert programs.find_browser() is None
    chrome = program(nowhere / "bin/google-chrome")
    assert programs.find_browser() == chrome


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_its_program_a_test_is_skipped_with_advice_and_fails_in_ci(nowhere, monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="needs Chromium: `apt-get install chromium`"):
        programs.require("Chromium")


@pytest.fixture
def apt(nowhere, monkeypatch):
    """An apt-get that does this, with the lines it was called with."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def make(act):
        program(nowhere / "bin/apt-get", f'echo "$*" >> {nowhere}/calls\n{act}')
        return lambda: (nowhere / "calls").read_text().splitlines()

    return make


def test_what_is_missing_is_brought_by_apt_get_quietly_and_once(apt, nowhere, capfd):
    program(nowhere / "bin/redis-server", "echo v=7.0")
    chromium = nowhere / "bin/chromium"
    calls = apt(f'case "$*" in *chromium*) echo "#!/bin/sh" > {chromium}; /bin/chmod +x {chromium};; esac')
    programs.bring()
    assert programs.found("Chromium") == chromium
    update, install = calls()
    assert update.endswith(" update")
    assert install.endswith(" install --yes --no-install-recommends chromium")
    programs.bring()
    assert len(calls()) == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("echo 'E: Could not get lock /var/lib/dpkg/lock' >&2; exit 100", "E: Could not get lock /var/lib/dpkg/lock"),
        ("exit 0", "apt-get brought one that does not run"),
    ],
)
def test_what_cannot_be_brought_is_one_line_with_the_reason(apt, nowhere, capfd, act, why):
    program(nowhere / "bin/redis-server", "echo v=7.0")
    apt(act)
    programs.bring()
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"no Chromium ({why})" in said
    assert "playwright install chromium" in said


def test_who_may_not_install_is_told_what_it_takes(apt, nowhere, monkeypatch, capfd):
    program(nowhere / "bin/redis-server", "echo v=7.0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    apt("exit 1")
    programs.bring()
    assert "no Chromium (installing it takes root and apt-get)" in capfd.readouterr().err
