"""What is known of a model is looked up again after a moment, by one request for all that come meanwhile."""

import math
import threading
from dataclasses import replace

import pytest

from lig_core.errors import ModelNotFound
from service.settings import Settings
from service.submit import known_models
from service.submit.known_models import KnownModels


@pytest.fixture
def models(monkeypatch):
    """Models whose knowledge of minilm is out of date, and would not be again for long."""
    monkeypatch.setattr(known_models, "FRESH_SECONDS", 600.0)
    models = KnownModels(Settings())
    models._models["minilm"] = replace(models.find("minilm"), at=-math.inf)
    return models


def test_while_one_request_looks_again_others_take_what_was_known(models, monkeypatch):
    old, looking, go_on, found = models._models["minilm"], threading.Event(), threading.Event(), []
    read_card = known_models.read_card

    def slow(*arguments):
        looking.set()
        assert go_on.wait(30)
        return read_card(*arguments)

    monkeypatch.setattr(known_models, "read_card", slow)
    one = threading.Thread(target=lambda: found.append(models.find("minilm")))
    one.start()
    assert looking.wait(30)
    assert [models.find("minilm").card for _ in range(20)] == [old.card] * 20
    go_on.set()
    one.join(30)
    assert models.find("minilm") is found[0]
    assert found[0].at > old.at


def test_a_model_that_is_gone_is_refused_to_everybody(models, monkeypatch):
    def gone(*_):
        raise ModelNotFound("gone")

    monkeypatch.setattr(known_models, "read_card", gone)
    for _ in range(3):
        with pytest.raises(ModelNotFound):
            models.find("minilm")
    monkeypatch.undo()
    assert models.find("minilm").name == "minilm"
