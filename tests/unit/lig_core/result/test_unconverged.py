"""What has not converged is said: in the result, as a warning, in a line. What rounding alone hides is fine."""

from __future__ import annotations

import json
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from lig_core import NotConvergedWarning, cli, explain
from lig_core.blocks import precision
from lig_core.client import Client
from lig_core.contract import parse_request
from lig_core.errors import NotConverged
from lig_core.loading.loaded import LoadedModel
from lig_core.result.formats import FORMATS
from lig_core.result.read import from_document
from lig_core.result.unconverged import MOST_NAMED, complaint, remedies
from lig_core.result.verdict import Verdict

TEXT = "The cat sat on the mat."
MISSED: dict[str, Any] = {"model": "minilm", "layers": [1, 4], "granularity": ["layer", "att"], "num_steps": 1}


@pytest.fixture(autouse=True)
def loaded_once(minilm: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("lig_core.method.kept_model", "lig_core.loading.loaded.load_model"):
        monkeypatch.setattr(place, lambda *args, **how: minilm)


def columns_of(result: dict[str, Any]) -> dict[str, list[tuple[str, bool]]]:
    """Status and verdict of every column, by map, read off the document as its readers do."""
    found: dict[str, list[tuple[str, bool]]] = {"layer": [], "att": [], "mlp": []}
    for layer in result["layers"].values():
        if "z2z" in layer:
            certificate = layer["z2z"]["certificate"]
            found["layer"] += zip(certificate["status"], certificate["converged"], strict=True)
        for part in layer.get("targets", {}).values():
            each = part.get("z2u", {"heads": {}})["heads"].values()
            found["att"] += [(one["status"], one["converged"]) for one in each]
            found["mlp"] += [(one["status"], one["converged"]) for one in [part.get("u2z")] if one]
    return found


def test_the_first_example_of_the_readme_has_converged_and_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = explain(TEXT, model="minilm", layers=[0, 5])
    columns = [column for each in columns_of(result).values() for column in each]
    assert result["converged"] and not result["unconverged"]
    assert result["columns"] == {status: sum(one == status for one, _ in columns) for status in ("ok", "noise_limited")}
    assert result["columns"]["noise_limited"] >= 1  # else this shows nothing
    assert all(converged for _, converged in columns)
    assert all(all(layer["composed"]["converged"]) for layer in result["layers"].values())


def test_a_tolerance_beyond_float32_is_reached_in_float64_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = explain(TEXT, model="minilm", layers=[0], rtol=1e-8)
    assert fine["converged"]
    assert list(fine["columns"]) == ["ok"]
    monkeypatch.setattr(precision, "MOST_BYTES", 0)
    with pytest.warns(NotConvergedWarning, match="dtype float64"):
        result = explain(TEXT, model="minilm", layers=[0], rtol=1e-8)
    assert not result["converged"]
    limited = [converged for each in columns_of(result).values() for status, converged in each if status != "ok"]
    assert limited and not any(limited)


def test_python_is_warned_once_a_call_with_where_and_what_to_do() -> None:
    with pytest.warns(NotConvergedWarning) as warned:
        result = explain(TEXT, **MISSED)
    (said,) = warned
    assert said.filename == __file__  # the call, not the library
    columns = columns_of(result)
    missed = [each["columns"] for each in result["unconverged"]]
    assert sum(missed) == sum(not converged for each in columns.values() for _, converged in each) > 0
    assert result["columns"] == {"fixed": sum(map(len, columns.values()))}
    assert str(said.message).startswith(f"{sum(missed)} columns of the result missed rtol 0.001 (layer 1: ")
    assert "more num_steps" in str(said.message)


def test_ignoring_is_silent_failing_fails_and_all_are_the_same_request() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(TEXT, **MISSED, on_unconverged="ignore")
    with pytest.raises(NotConverged, match=r"layer 1 misses the tolerance in \d+ columns of att, \d+ columns of layer"):
        explain(TEXT, **MISSED, on_unconverged="fail")
    digests = [parse_request({"text": TEXT, "on_unconverged": on}).digest for on in ("warn", "ignore", "fail")]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"dtype": "float32", "num_steps": None, "rtol": 1e-3}, ["dtype float64", "a larger rtol, up to 0.002"]),
        ({"dtype": "float64", "num_steps": None, "rtol": 1e-6}, ["a larger rtol, up to 0.002"]),
        (
            {"dtype": "float32", "num_steps": 4, "rtol": 1e-2},
            ["dtype float64", "more num_steps (left out, it is adaptive)"],
        ),
        ({"dtype": "float64", "num_steps": None, "rtol": 1e-2}, []),
    ],
)
def test_what_is_advised_is_what_may_help(options: dict[str, Any], advice: list[str]) -> None:
    assert [each for each in remedies(options).split("ask for ") if each] == [f"{each}, or " for each in advice]


def test_a_verdict_is_the_same_of_the_document_read_again() -> None:
    result = explain(TEXT, **MISSED, on_unconverged="ignore")
    assert Verdict.of(from_document(result)[1]).document() == {
        name: result[name] for name in ("converged", "columns", "unconverged")
    }


def test_many_maps_are_counted_and_not_all_named() -> None:
    missed = [{"layer": layer, "map": "att", "columns": 2} for layer in range(40)]
    config = {"num_steps": None, "rtol": 1e-3, "dtype": "float64"}
    said = complaint({"converged": False, "unconverged": missed, "config": config})
    assert said is not None
    assert said.count("2 of att") == MOST_NAMED
    assert f"and {40 - MOST_NAMED} more maps" in said and said.startswith("80 columns") and "float64" not in said


COMMAND = ["explain", TEXT, "--model", "minilm", "--layers", "1", "--granularity", "layer", "--steps", "1"]


@pytest.mark.parametrize(("on", "code", "lines"), [(None, 0, 1), ("warn", 0, 1), ("ignore", 0, 0), ("fail", 3, 1)])
def test_the_command_says_it_in_a_line_and_its_exit_code(on: str | None, code: int, lines: int, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    options = [] if on is None else ["--on-unconverged", on]
    done = CliRunner().invoke(cli.app, [*COMMAND, *options, "-o", str(file)])
    said = [line for line in done.stderr.splitlines() if not line.startswith(f"lig: wrote {file}")]
    assert (done.exit_code, done.stdout, len(said)) == (code, "", lines)
    assert file.exists() == (code == 0)
    assert all("columns of" in line for line in said)


def test_another_choice_is_refused_in_a_line() -> None:
    done = CliRunner().invoke(cli.app, [*COMMAND, "--on-unconverged", "shout"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def arrays() -> bytes:
    """A file of NumPy arrays, such as the service sends."""
    file = BytesIO()
    np.savez(file, **{"layers.1.targets": np.array([0])})
    return file.getvalue()


class Service:
    """Answers as the service does about one job, which has succeeded or failed."""

    def __init__(self, result: dict[str, Any], failed: bool = False) -> None:
        self.result, self.asked = result, []
        progress = {"phase": "done", "done": 2, "total": 2, "unit": "layers"}
        self.job: dict[str, Any] = {"id": "j", "status": "succeeded", "converged": result["converged"]}
        self.job["progress"] = progress
        if failed:
            self.job |= {
                "status": "failed",
                "converged": None,
                "problem": {"code": "not_converged", "detail": "layer 1 misses it"},
            }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.path.endswith("/events"):
            silent = {"status": 404, "code": "not_found", "detail": "no events here"}
            return httpx.Response(404, json=silent, headers={"content-type": "application/problem+json"})
        if not request.url.path.endswith("/result"):
            return httpx.Response(200, json=self.job)
        media_type = request.headers["accept"]
        return httpx.Response(200, content=self._sent(media_type), headers={"content-type": media_type})

    def _sent(self, media_type: str) -> bytes:
        if media_type == "application/json":
            return json.dumps(self.result).encode()
        if media_type == "application/x-ndjson":
            return b"".join(FORMATS["ndjson"].write(*from_document(self.result)))
        return arrays()

    def client(self, url: str = "http://service", **options: Any) -> Client:
        return Client(url, transport=httpx.MockTransport(self), **options)


@pytest.fixture
def missed() -> dict[str, Any]:
    return explain(TEXT, **MISSED, on_unconverged="ignore")


def test_the_client_warns_as_the_library_does(missed: dict[str, Any]) -> None:
    service = Service(missed)
    with pytest.warns(NotConvergedWarning) as warned, service.client() as client:
        client.explain(TEXT, model="minilm")
    assert [str(one.message) for one in warned] == [complaint(missed)]
    assert warned[0].filename == __file__
    with warnings.catch_warnings(), service.client() as client:
        warnings.simplefilter("error")
        client.explain(TEXT, model="minilm", on_unconverged="ignore")
        client.explain(parse_request({"text": TEXT, "on_unconverged": "ignore"}))


@pytest.mark.parametrize("ending", ["json", "npz"])
@pytest.mark.parametrize(("on", "code", "lines"), [("warn", 0, 1), ("ignore", 0, 0), ("fail", 3, 1)])
def test_the_command_says_it_of_what_a_service_computed(
    missed: dict[str, Any],
    ending: str,
    on: str,
    code: int,
    lines: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(missed, failed=on == "fail")
    monkeypatch.setattr("lig_core.client.Client", service.client)
    file = tmp_path / f"result.{ending}"
    done = CliRunner().invoke(
        cli.app, [*COMMAND, "--on-unconverged", on, "--server", "http://service", "-o", str(file)]
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith(f"lig: wrote {file}")]
    assert (done.exit_code, len(said)) == (code, lines)
    assert json.loads(service.asked[0].content).get("on_unconverged") == on
