"""The viewer's bundle, which is committed, is what its sources make."""

import gzip
import os
import subprocess

from tests import programs
from tests.support.places import ROOT

BUNDLE = ROOT / "lig_core/result/viewer"
NAMES = ("bundle.js", "bundle.css")
MOST_COMPRESSED = 34_000


def test_it_is_made_of_the_sources_to_the_byte(tmp_path):
    programs.require_packages()
    npm = programs.require("npm")
    build = [npm, "run", "--silent", "--prefix", "viewer", "build"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "OUT": str(tmp_path)})
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (BUNDLE / name).read_bytes(), "run: make viewer"


def test_it_is_small():
    assert len(gzip.compress(b"".join((BUNDLE / name).read_bytes() for name in NAMES), 9)) <= MOST_COMPRESSED


def test_it_names_no_place_to_load_from():
    text = "".join((BUNDLE / name).read_text(encoding="utf-8") for name in NAMES)
    assert "https://" not in text
    assert "http://" not in text.replace("http://www.w3.org/", "")
