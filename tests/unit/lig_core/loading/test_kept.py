"""`explain()` in a loop: the model is loaded once, another one where its content or precision is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from lig_core import explain
from lig_core.loading import kept
from lig_core.loading.loader import Loader
from tests.models.tiny_models import loaded
from tests.support.closeness import assert_close_maps
from tests.unit.lig_core.loading.test_loading import saved

OPTIONS = {"granularity": "layer", "layers": [0], "rtol": 0.1}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str]]:
    """Devices and precisions that models are loaded for."""
    counted: list[tuple[str | None, str]] = []
    load = Loader.load

    def counting(self: Loader, card: object, device: str | None, dtype: str) -> object:
        counted.append((device, dtype))
        return load(self, card, device, dtype)  # type: ignore[arg-type]

    monkeypatch.setattr(Loader, "load", counting)
    kept._pool.cache_clear()
    return counted


def test_a_model_is_loaded_once_for_many_texts(tmp_path: Path, loads: list[tuple[str | None, str]]) -> None:
    folder = str(saved(tmp_path, "bert"))
    first = explain("a cat", model=folder, device="cpu", **OPTIONS)
    assert_close_maps(explain("a cat", model=folder, device="cpu", **OPTIONS), first, 1e-6)
    assert explain("the dog", model=folder, device="cpu", **OPTIONS)["tokens"] != first["tokens"]
    assert loads == [("cpu", "float32")]


def test_another_precision_and_another_content_are_loaded(tmp_path: Path, loads: list[tuple[str | None, str]]) -> None:
    folder = saved(tmp_path, "bert")
    for dtype in ("float32", "float64", "float32"):
        explain("a cat", model=str(folder), device="cpu", dtype=dtype, **OPTIONS)
    assert loads == [("cpu", "float32"), ("cpu", "float64")]
    before = explain("a cat", model=str(folder), device="cpu", **OPTIONS)["receipt"]["files"]
    config = folder / "config.json"
    config.write_text(config.read_text() + " ")
    assert explain("a cat", model=str(folder), device="cpu", **OPTIONS)["receipt"]["files"] != before
    assert len(loads) == 3


def test_a_loaded_model_stands_in_place_of_a_name(loads: list[tuple[str | None, str]]) -> None:
    model = loaded("bert")
    result = explain("a cat", model=model, **OPTIONS)
    assert (result["model"], result["receipt"]["dtype"]) == (model.card.name, "float64")
    assert loads == []
