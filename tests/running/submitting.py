"""Texts sent over HTTP, and what the scripted worker ran of them."""

import itertools

TOLERANCES = (1e-3 + n * 1e-9 for n in itertools.count())


def runs(folder):
    """What was run, a line each."""
    file = folder / "runs"
    return file.read_text().splitlines() if file.exists() else []


def submit(api, text, **fields):
    """The job of a new computation; without another tolerance, equal texts would share one."""
    request = {"text": text, "model": "minilm", "rtol": next(TOLERANCES), **fields}
    response = api.post("/v1/explain", json=request)
    assert response.status_code == 202, response.text
    return response.headers["location"]
