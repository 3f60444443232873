"""Which models stay in memory."""

from lig_core.catalog import ModelCard
from worker.model_pool import ModelPool


class CountingEngine:
    def __init__(self):
        self.loaded = []

    def load(self, card, device, dtype):
        self.loaded.append((card.name, device, dtype))
        return object()


def card(name):
    return ModelCard(name, name, None, {})


def test_a_model_is_loaded_once():
    engine = CountingEngine()
    pool = ModelPool(engine, "cpu", size=2)
    assert pool.get(card("a"), "float32") is pool.get(card("a"), "float32")
    assert engine.loaded == [("a", "cpu", "float32")]


def test_another_precision_is_another_model():
    pool = ModelPool(CountingEngine(), None, size=2)
    assert pool.get(card("a"), "float32") is not pool.get(card("a"), "float64")


def test_the_model_unused_for_longest_makes_room():
    engine = CountingEngine()
    pool = ModelPool(engine, None, size=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        pool.get(card(name), "float32")
    assert [name for name, _, _ in engine.loaded] == ["a", "b", "c", "b"]
