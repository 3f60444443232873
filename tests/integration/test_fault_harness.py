"""A short run of the fault harness: every fault once, nothing lost, nothing twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.truth import commands, publications

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_accepted_job_ends_once_whatever_is_killed(tmp_path):
    command = ["-m", "tests.faults.run", "--jobs", "60", "--minutes", "1", "--between", "0.3", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "faults.json").read_text())
    assert result["accepted"] == result["finished"] >= 20
    assert (result["lost"], result["published_twice"], result["published_never"]) == (0, 0, 0)
    assert len(result["faults"]) == 14
    assert result["run_more_than_once"] > 0  # the faults did hit
    assert not any(result["left_in_redis"].values())


def test_a_second_publication_would_be_seen():
    def line(*parts):
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)

    publish = line(b"HSET", b"rq:job:a", b"layer:0", b"{}")
    ended = line(b"HSET", b"rq:job:a", b"status", b"finished", b"ended", b"1")
    other = line(b"HSET", b"rq:job:a", b"status", b"layer:0")
    assert publications(line(b"SELECT", b"0") + publish + ended + other) == {("a", "layer:0"): 1, ("a", "finished"): 1}
    assert publications(publish + publish + publish[:-5])["a", "layer:0"] == 2
    assert list(commands(publish[:-3])) == []
