from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub

if TYPE_CHECKING:
    from lig_core.models import LoadedModel


@pytest.fixture(scope="session")
def minilm() -> LoadedModel:
    """The bundled model, loaded once."""
    from lig_core.catalog import find_model
    from lig_core.models import load_model

    return load_model(find_model("minilm"), device="cpu")
