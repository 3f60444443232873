"""Work under way stops when it is told to."""

import pytest

from lig_core.contract import ExplainRequest
from lig_core.errors import Cancelled
from lig_core.loading.loaded import load_model
from lig_core.method import run
from lig_core.models.catalog import find_model


def test_it_stops_before_the_next_chunk_once_told_to():
    model = load_model(find_model("minilm"), device="cpu")
    request = ExplainRequest(text="The cat sat.", model="minilm", layers=[0], granularity="layer", num_steps=2)
    asked = []

    def never():
        asked.append(False)
        return False

    run(request, model, should_stop=never)
    assert len(asked) > 1

    def at_the_second():
        asked.append(len(asked) == 1)
        return asked[-1]

    asked.clear()
    with pytest.raises(Cancelled):
        run(request, model, should_stop=at_the_second)
    assert len(asked) == 2
