"""The tools of `lig mcp`, on results made up without a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lig_core.commands.mcp_tools import Tools
from lig_core.result.arrays import LayerArrays, Result
from lig_core.result.plain.text import plain
from lig_core.result.render import document
from tests.support.made_results import made_head, made_layer


class Service:
    """Answers each explanation with the next of some results."""

    def __init__(self, *results: Result) -> None:
        self._results = list(results)

    def submit(self, **_: Any) -> dict[str, Any]:
        return {"id": f"job-{len(self._results)}"}

    def wait(self, job: str) -> dict[str, Any]:
        return {"id": job, "status": "succeeded"}

    def result(self, _: str) -> dict[str, Any]:
        result = self._results.pop(0)
        return plain(document(result.head, list(result)))


def told(folder: Path, layer: LayerArrays, **config: Any) -> dict[str, Any]:
    tools: Any = Tools(folder, Service(Result.of(made_head(**config), [layer])))  # type: ignore[arg-type]
    answer: dict[str, Any] = tools.explain({"text": "cats sat"}, 30, None)
    return answer


def test_what_is_composed_says_what_its_certificate_is(tmp_path: Path) -> None:
    layer = made_layer()
    layer["composed.converged"][2] = False
    answer = told(tmp_path, layer)
    assert "no certificate of its own" in answer["compositions"]
    for name in ("composed.product", "composed.conserving"):
        missed = {entry["target"] for entry in answer["layers"][0][name] if not entry.get("converged", True)}
        assert missed == {"s (2)"}
        assert all(entry.get("converged", True) for entry in answer["layers"][0][name] if entry["target"] != "s (2)")


def test_without_compositions_nothing_is_said_of_them(tmp_path: Path) -> None:
    layer = made_layer()
    layer = replace(layer, arrays={name: x for name, x in layer.arrays.items() if not name.startswith("composed")})
    answer = told(tmp_path, layer)
    assert "compositions" not in answer
    assert "not_known" not in answer["layers"][0]


def test_what_is_not_known_is_named_and_not_listed(tmp_path: Path) -> None:
    layer = made_layer()
    layer["composed.conserving"][:, 3] = np.nan
    maps = told(tmp_path, layer)["layers"][0]
    assert maps["not_known"] == ["sat (3)"]
    assert "sat (3)" not in {entry["target"] for entry in maps["composed.conserving"]}
    assert all(entry["value"] is not None for entry in maps["composed.conserving"])
