"""`make test` counts what pytest did, and hides nothing."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.run import Outcome, read_report, summary

TESTS = """
import pytest

def test_passes(): pass
def test_fails(): assert False
def test_is_skipped(): pytest.skip("no such program")
@pytest.fixture
def broken(): raise OSError
def test_cannot_begin(broken): pass
@pytest.fixture
def unclean():
    yield
    raise OSError
def test_leaves_a_mess(unclean): pass
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What pytest writes of those, as tests of the GPU's and as others."""
    folder = tmp_path_factory.mktemp("suite")
    for name in ("unit", "gpu"):
        file = folder / "tests" / name / "test_it.py"
        file.parent.mkdir(parents=True)
        file.write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--junitxml=report.xml",
        "-p",
        "no:cacheprovider",
        "--rootdir=.",
        "-c=/dev/null",
    ]
    done = subprocess.run(
        [*command, "--import-mode=importlib", "tests"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return folder / "report.xml"


def read(report, **how):
    outcome = Outcome(sound=False)
    read_report(report, outcome, **how)
    return outcome


def test_everything_is_counted_once(report):
    found = read(report, gpu_alone=False)
    assert found.passed == 2
    assert sorted(name.rpartition(".")[2] for name in found.failed) == sorted(
        ["test_fails", "test_cannot_begin", "test_leaves_a_mess"] * 2
    )
    assert found.skipped == {"no such program": 2}


def test_in_ci_only_tests_of_the_gpu_may_be_skipped(report):
    found = read(report, gpu_alone=True)
    assert found.skipped == {"no such program": 2}
    assert [name for name in found.failed if "skipped" in name] == [
        "tests.unit.test_it.test_is_skipped, skipped: no such program"
    ]


def test_the_summary_says_what_failed_and_why_what_was_skipped():
    well = Outcome(sound=True, passed=1)
    text, fine = summary({"check": Outcome(sound=True), "unit": well, "integration": well})
    assert fine
    assert text.endswith("all is well")
    for outcome in (
        Outcome(sound=False, passed=3, failed=["a.b"], skipped=Counter({"needs a GPU": 5})),
        Outcome(sound=True, failed=["a.b"], skipped=Counter({"needs a GPU": 5})),
    ):
        text, fine = summary({"check": Outcome(sound=True), "unit": outcome, "integration": well})
        assert not fine
        assert text.endswith("not all is well")
        assert "skipped 5: needs a GPU" in text
        assert "failed: a.b" in text


def test_a_run_that_ended_early_is_no_success():
    text, fine = summary({"check": Outcome(sound=False)})
    assert not fine
    assert "FAILED" in text
