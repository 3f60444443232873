"""Which models stay in memory."""

import random

import pytest
from huggingface_hub import constants

from lig_core.errors import ModelChanged, OutOfMemory
from lig_core.loading.loader import Loader, expected_bytes
from lig_core.loading.model_pool import ModelPool
from lig_core.models.catalog import ModelCard, find_model
from lig_core.models.identity import model_identity
from tests.support.closeness import assert_close


class CountingBackend:
    """Models are named by their size in bytes, such as `a40`; those that begin with `x` do not tell it before."""

    def __init__(self):
        self.loaded = []
        self.released = 0
        self.pool = None
        self.while_loading = lambda: None
        self.most = 0

    def load(self, card, device, dtype):
        self.loaded.append((card.name, device, dtype))
        self.while_loading()
        self.most = max(self.most, self.pool.used + int(card.name[1:]) if self.pool else 0)
        return [card.name]

    def expected_size(self, card, dtype):
        return None if card.name.startswith("x") else int(card.name[1:])

    def size(self, model):
        return int(model[0][1:])

    def release(self):
        self.released += 1


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """Puts a commit of a model into the local cache of the hub, as its newest."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def put(name, commit):
        for file, text in {"refs/main": commit, f"snapshots/{commit}/config.json": "{}"}.items():
            path = tmp_path / f"models--{name}" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return put


def card(name):
    return ModelCard(name, name, None, {})


def loads(pool, card):
    """Get the model; whether it had to be loaded, by what is told before."""
    told = []
    pool.get(card, "float32", loading=lambda: told.append(len(pool.contents())))
    return bool(told)


def test_a_model_is_loaded_once():
    backend = CountingBackend()
    pool = ModelPool(backend, "cpu", 100)
    assert pool.get(card("a40"), "float32") is pool.get(card("a40"), "float32")
    assert backend.loaded == [("a40", "cpu", "float32")]


def test_another_precision_is_another_model():
    pool = ModelPool(CountingBackend(), None, 100)
    assert pool.get(card("a40"), "float32") is not pool.get(card("a40"), "float64")
    assert pool.used == 80


def test_the_model_unused_for_longest_makes_room():
    backend = CountingBackend()
    pool = ModelPool(backend, None, 100)
    for name in ("a40", "b40", "a40", "c40", "a40", "b40"):
        pool.get(card(name), "float32")
    assert [name for name, _, _ in backend.loaded] == ["a40", "b40", "c40", "b40"]
    assert [held["model"] for held in pool.contents()] == ["a40", "b40"]
    assert backend.released == 2


def test_over_many_models_the_budget_holds_even_while_one_loads():
    backend, dice = CountingBackend(), random.Random(1)
    pool = backend.pool = ModelPool(backend, None, 100)
    for _ in range(500):
        pool.get(card(f"{dice.choice('abx')}{dice.randint(1, 100)}"), "float32")
        assert pool.used <= 100
    assert 50 < backend.most <= 100


def test_a_model_whose_folder_changed_is_loaded_anew_and_the_old_one_let_go(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"old")
    backend, folder = CountingBackend(), ModelCard("a40", str(tmp_path), None, {})
    pool = ModelPool(backend, None, 200)
    other = pool.get(card("b40"), "float32")
    old = [pool.get(folder, dtype) for dtype in ("float32", "float64")]
    assert not loads(pool, folder)
    weights.write_bytes(b"other")
    assert loads(pool, folder)
    new = pool.get(folder, "float32")
    assert new is not old[0]
    assert pool.get(folder, "float32") is new
    assert pool.used == 80  # that in the other precision is of no use any more either
    assert pool.get(card("b40"), "float32") is other
    assert backend.released == 1


def test_a_model_whose_files_are_replaced_while_they_are_read_is_not_kept(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"old")
    backend, folder = CountingBackend(), ModelCard("a40", str(tmp_path), None, {})
    pool = ModelPool(backend, None, 100)
    backend.while_loading = lambda: weights.write_bytes(b"other")
    with pytest.raises(ModelChanged, match="send it again"):
        pool.get(folder, "float32")
    assert pool.used == 0
    backend.while_loading = lambda: None
    assert pool.get(folder, "float32").identity == model_identity(folder)


@pytest.mark.parametrize("replaced", ["before", "after"])
def test_a_model_of_other_content_than_is_wanted_is_not_loaded(tmp_path, replaced):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"old")
    backend, folder = CountingBackend(), ModelCard("a40", str(tmp_path), None, {})
    pool, wanted = ModelPool(backend, None, 100), model_identity(folder)
    if replaced == "after":
        assert pool.get(folder, "float32", wanted).identity == wanted
    weights.write_bytes(b"other")
    with pytest.raises(ModelChanged, match="send the request again"):
        pool.get(folder, "float32", wanted)
    assert len(backend.loaded) == (replaced == "after")
    assert pool.get(folder, "float32").identity != wanted


def test_a_hub_model_that_loading_brought_here_is_loaded_once(hub_cache):
    backend = CountingBackend()
    pool = ModelPool(backend, None, 100)
    backend.while_loading = lambda: hub_cache("a40", "c0ffee")
    assert pool.get(card("a40"), "float32") is pool.get(card("a40"), "float32")
    hub_cache("a40", "decade")
    assert loads(pool, card("a40"))
    assert len(backend.loaded) == 2


@pytest.mark.parametrize("name", ["a101", "x101"])
def test_a_model_larger_than_the_budget_is_refused_with_what_to_do(name):
    pool = ModelPool(CountingBackend(), None, 100)
    with pytest.raises(OutOfMemory, match="raise LIG_MODEL_BUDGET"):
        pool.get(card(name), "float32")
    assert pool.used == 0


@pytest.mark.parametrize("name", ["a101", "x101"])
def test_a_pool_that_is_not_strict_loads_what_is_larger_and_does_not_keep_it(name):
    backend = CountingBackend()
    pool = ModelPool(backend, None, 100, strict=False)
    pool.get(card("a40"), "float32")
    assert [pool.get(card(name), "float32").size for _ in range(2)] == [101, 101]
    assert pool.used == 0
    assert len(backend.loaded) == 3


def test_the_expected_size_is_that_of_the_loaded_model():
    backend = Loader()
    minilm = find_model("minilm")
    assert backend.expected_size(minilm, "float64") == 2 * backend.expected_size(minilm, "float32")
    measured = backend.size(backend.load(minilm, "cpu", "float32"))
    # Not exactly: a model has buffers that no file holds, and files may hold heads that are not loaded.
    assert_close(measured, backend.expected_size(minilm, "float32"), 0.01)


def test_a_folder_without_sound_weights_tells_nothing(tmp_path):
    assert expected_bytes(ModelCard("x", str(tmp_path), None, {}), 4) is None
    (tmp_path / "model.safetensors").write_bytes(b"not weights, whatever the name says")
    assert expected_bytes(ModelCard("x", str(tmp_path), None, {}), 4) is None
