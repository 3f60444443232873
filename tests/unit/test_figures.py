"""The figures of the documents are what the code computes, and can be read on light and on dark."""

import re
from xml.etree import ElementTree

import pytest

from generate.figures import FOLDER, computed, figures

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
LAST_DIGIT = 0.11
"""Figures are drawn to a tenth of a pixel, and a processor may round the last digit otherwise."""


@pytest.fixture(scope="module")
def drawn():
    return figures(computed())


@pytest.mark.parametrize("name", ["flow.svg", "z-u-z.svg"])
def test_a_figure_in_the_repository_is_current(drawn, name):
    kept = (FOLDER / name).read_text(encoding="utf-8")
    assert NUMBER.sub("0", drawn[name]) == NUMBER.sub("0", kept), "run: make figures"
    numbers = zip(NUMBER.findall(drawn[name]), NUMBER.findall(kept), strict=True)
    assert all(abs(float(new) - float(old)) <= LAST_DIGIT for new, old in numbers), "run: make figures"


def test_there_is_no_other_figure(drawn):
    assert {path.name for path in FOLDER.glob("*.svg")} == set(drawn)


@pytest.mark.parametrize("name", ["flow.svg", "z-u-z.svg"])
def test_a_figure_carries_its_background_and_both_schemes(drawn, name):
    root = ElementTree.fromstring(drawn[name])
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title").text
    assert root.find(f"{space}rect").get("class") == "page"
    assert "prefers-color-scheme: dark" in root.find(f"{space}style").text
    coloured = [path.get("class") != "link" for path in root.iter(f"{space}path")]
    assert coloured == sorted(coloured) and any(coloured), "the coloured links lie above the others"
