"""Equal work has an equal digest, other work another."""

import pytest

from lig_core.contract import ExplainRequest
from lig_core.models.references import ModelReference
from service.submit.intake import work_digest

HUB = ModelReference("hub", "nobody/m")


def digest(reference=HUB, **fields):
    return work_digest(ExplainRequest(text="hi", model=str(reference), **fields), reference)


@pytest.mark.parametrize(
    "fields",
    [{"priority": "bulk"}, {"granularity": ["all"]}, {"granularity": ["att", "all"]}],
)
def test_what_changes_no_number_changes_no_digest(fields):
    assert digest(**fields) == digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"rtol": 1e-4},
        {"layers": [0]},
        {"labels": True},
        {"dtype": "float64"},
        {"special_tokens": False},
        {"prefix_space": True},
        {"granularity": ["mlp", "composed", "layer", "att"]},  # refused where the model lacks one
    ],
)
def test_what_changes_the_result_changes_the_digest(fields):
    assert digest(**fields) != digest()


def test_another_revision_is_another_model():
    assert digest(ModelReference("hub", "nobody/m", "v2")) != digest()


def test_a_folder_is_another_model_than_the_hub_s_of_the_same_name():
    assert digest(ModelReference("folder", "nobody/m")) != digest()
