"""Which models stay in memory."""

import random

import pytest

from lig_core.catalog import ModelCard, find_model
from lig_core.errors import OutOfMemory
from worker.model_pool import ModelPool
from worker.weights import expected_bytes


class CountingEngine:
    """Models are named by their size in bytes, such as `a40`; those that begin with `?` do not tell it before."""

    def __init__(self):
        self.loaded = []
        self.released = 0
        self.pool = None
        self.most = 0

    def load(self, card, device, dtype):
        self.loaded.append((card.name, device, dtype))
        self.most = max(self.most, self.pool.used + int(card.name[1:]) if self.pool else 0)
        return [card.name]

    def expected_size(self, card, dtype):
        return None if card.name.startswith("?") else int(card.name[1:])

    def size(self, model):
        return int(model[0][1:])

    def release(self):
        self.released += 1


def card(name):
    return ModelCard(name, name, None, {})


def test_a_model_is_loaded_once():
    engine = CountingEngine()
    pool = ModelPool(engine, "cpu", 100)
    assert pool.get(card("a40"), "float32") is pool.get(card("a40"), "float32")
    assert engine.loaded == [("a40", "cpu", "float32")]


def test_another_precision_is_another_model():
    pool = ModelPool(CountingEngine(), None, 100)
    assert pool.get(card("a40"), "float32") is not pool.get(card("a40"), "float64")
    assert pool.used == 80


def test_the_model_unused_for_longest_makes_room():
    engine = CountingEngine()
    pool = ModelPool(engine, None, 100)
    for name in ("a40", "b40", "a40", "c40", "a40", "b40"):
        pool.get(card(name), "float32")
    assert [name for name, _, _ in engine.loaded] == ["a40", "b40", "c40", "b40"]
    assert [held["model"] for held in pool.contents()] == ["a40", "b40"]
    assert engine.released == 2


def test_over_many_models_the_budget_holds_even_while_one_loads():
    engine, dice = CountingEngine(), random.Random(1)
    pool = engine.pool = ModelPool(engine, None, 100)
    for _ in range(500):
        pool.get(card(f"{dice.choice('ab?')}{dice.randint(1, 100)}"), "float32")
        assert pool.used <= 100
    assert 50 < engine.most <= 100


@pytest.mark.parametrize("name", ["a101", "?101"])
def test_a_model_larger_than_the_budget_is_refused_with_what_to_do(name):
    pool = ModelPool(CountingEngine(), None, 100)
    with pytest.raises(OutOfMemory, match="raise LIG_MODEL_BUDGET"):
        pool.get(card(name), "float32")
    assert pool.used == 0


def test_the_expected_size_is_that_of_the_loaded_model():
    from worker.engine import CoreEngine

    engine = CoreEngine()
    minilm = find_model("minilm")
    assert engine.expected_size(minilm, "float64") == 2 * engine.expected_size(minilm, "float32")
    measured = engine.size(engine.load(minilm, "cpu", "float32"))
    # Not exactly: a model has buffers that no file holds, and files may hold heads that are not loaded.
    assert measured == pytest.approx(engine.expected_size(minilm, "float32"), rel=0.01)


def test_a_folder_without_sound_weights_tells_nothing(tmp_path):
    assert expected_bytes(ModelCard("x", str(tmp_path), None, {}), 4) is None
    (tmp_path / "model.safetensors").write_bytes(b"not weights, whatever the name says")
    assert expected_bytes(ModelCard("x", str(tmp_path), None, {}), 4) is None
