"""`make demo` with a model that a service does not take: one line, which says what to do."""

import os
import subprocess
import sys

import pytest

from tests.support.places import ROOT


def said_by_demo(model, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "service.process.demo", "--model", model],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )


@pytest.mark.parametrize("model", ["{0}/shelf/mine", "shelf/mine", "./shelf/mine"])
def test_a_folder_is_one_line_with_the_command_to_run(model, tmp_path):
    (tmp_path / "shelf" / "mine").mkdir(parents=True)
    done = said_by_demo(model.format(tmp_path), tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.endswith(f"run: make demo LIG_MODELS_FOLDER={tmp_path}/shelf MODEL=mine\n")


@pytest.mark.parametrize("model", ["/nowhere", "~/nowhere", "a/b/c", "minilm@main"])
def test_what_is_no_name_is_one_line(model, tmp_path):
    done = said_by_demo(model, tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("lig: ") and repr(model.partition("@")[0])[1:-1] in done.stderr
