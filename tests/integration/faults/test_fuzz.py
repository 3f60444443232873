"""A short run of Schemathesis against the running service; `make fuzz` is the long one."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.places import ROOT


@pytest.mark.slow
def test_nothing_that_is_sent_makes_the_service_fail_or_answer_what_it_does_not_document(tmp_path):
    command = ["-m", "tests.fuzz.run", "--cases", "300", "--size", "8", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "fuzz.json").read_text())
    assert found["cases"] >= 300
    assert (found["server_errors"], found["failures"]) == (0, {})
    assert {"not_a_server_error", "status_code_conformance", "use_after_free"} <= set(found["checks"])
    # It went deep enough to mean something: jobs were accepted, and their results read.
    accepted = Counter(found["statuses"]["POST /v1/explain"])
    assert accepted["202"] > 0 and accepted["202"] + accepted["200"] > 5
    assert found["statuses"]["GET /v1/jobs/{job_id}/result"]["200"] > 0
