"""What the API says about models, from their configs."""

import json

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings


@pytest.fixture
def folder(tmp_path, jobs):
    for name, config in {
        "tiny": {"model_type": "gpt_neox", "num_hidden_layers": 3, "num_attention_heads": 4},
        "group/inner": {"model_type": "gemma3", "text_config": {"num_hidden_layers": 2, "num_attention_heads": 8}},
        "ssm": {"model_type": "mamba", "num_hidden_layers": 5},
    }.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    with TestClient(create_app(Settings(models_folder=tmp_path), jobs)) as client:
        yield client


def test_the_list_names_bundled_models_and_those_in_the_folder(folder):
    answer = folder.get("/v1/models")
    assert answer.status_code == 200
    every = ["att", "composed", "layer", "mlp"]
    assert [tuple(model.values()) for model in answer.json()["models"]] == [
        ("minilm", "bert", 6, 12, 512, every, None),
        ("smollm2", "llama", 30, 9, 8192, every, None),
        ("group/inner", "gemma3", 2, 8, 131_072, every, None),
        ("ssm", "mamba", 5, None, None, ["layer"], None),
        ("tiny", "gpt_neox", 3, 4, 2048, every, None),
    ]


def test_a_part_of_a_model_is_no_model_and_a_model_inside_one_is(folder, tmp_path):
    """sentence-transformers has parts, each with a config of its own; training leaves checkpoints."""
    parts = {"tiny/1_Pooling": {"word_embedding_dimension": 4}, "group/inner/a/2_Dense": {"in_features": 4}}
    for name, config in {**parts, "tiny/checkpoint-5": {"model_type": "bert"}, "alone": {"odd": 1}}.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    named = [model["id"] for model in folder.get("/v1/models").json()["models"]]
    assert named == ["minilm", "smollm2", "alone", "group/inner", "ssm", "tiny/checkpoint-5", "tiny"]


def test_positions_that_a_model_spends_on_padding_are_not_promised(folder, tmp_path):
    """RoBERTa's 514 are two of padding and 512 of tokens."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8, "max_position_embeddings": 514}
    (tmp_path / "tiny" / "config.json").write_text(json.dumps({"model_type": "roberta", "pad_token_id": 1, **sizes}))
    (found,) = (model for model in folder.get("/v1/models").json()["models"] if model["id"] == "tiny")
    assert found["positions"] == 512


def test_how_much_may_be_asked_for_is_told_as_it_is_set(jobs):
    settings = Settings(max_batch=7, max_wait=3, max_result_bytes=1000)
    limits = TestClient(create_app(settings, jobs)).get("/v1/models").json()["limits"]
    assert (limits["batch_texts"], limits["wait_seconds"], limits["result_json_bytes"]) == (7, 3.0, 1000)
    texts = {"texts": ["a"] * (limits["batch_texts"] + 1), "options": {"model": "minilm"}}
    assert TestClient(create_app(settings, jobs)).post("/v1/explain/batch", json=texts).status_code == 422


def test_every_listed_model_has_boundaries(folder):
    found = {}
    for model in folder.get("/v1/models").json()["models"]:
        answer = folder.get(f"/v1/models/{model['id']}/boundaries")
        assert answer.status_code == 200
        found[model["id"]] = (answer.json()["layout"], answer.json()["supported_granularity"])
    every = ["att", "composed", "layer", "mlp"]
    assert found == {
        "minilm": ("post_ln_encoder", every),
        "smollm2": ("pre_ln_decoder", every),
        "group/inner": ("sandwich_ln_decoder", every),
        "ssm": ("block_only", ["layer"]),
        "tiny": ("parallel_ln_decoder", every),
    }


def test_the_route_stands_without_the_version_too(folder):
    assert folder.get("/models/tiny/boundaries").json() == folder.get("/v1/models/tiny/boundaries").json()


@pytest.mark.parametrize("name", ["..%2Ftiny", "%2Fetc", "~root", "a%5Cb"])
def test_a_path_is_refused(folder, name):
    answer = folder.get(f"/v1/models/{name}/boundaries")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/path/model"


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing"])
def test_a_model_that_is_not_to_be_had_is_not_found(folder, name):
    answer = folder.get(f"/v1/models/{name}/boundaries")
    assert answer.status_code == 404
    assert answer.json()["code"] == "unknown_model"
    assert name in answer.json()["detail"]


def test_where_the_hub_is_not_asked_it_is_said_what_brings_the_config_here(tmp_path, jobs):
    with TestClient(create_app(Settings(models_folder=tmp_path, ask_hub=False), jobs)) as client:
        answer = client.get("/v1/models/nobody/nothing/boundaries")
    assert answer.status_code == 404
    assert "explain a text" in answer.json()["detail"]


def test_a_folder_whose_config_is_damaged_is_no_model(folder, tmp_path):
    (tmp_path / "tiny" / "config.json").write_text("{")
    assert "tiny" not in [model["id"] for model in folder.get("/v1/models").json()["models"]]
    answer = folder.get("/v1/models/tiny/boundaries")
    assert answer.status_code == 404
    assert "not valid JSON" in answer.json()["detail"]


def test_only_allowed_models_are_listed_and_described(tmp_path, jobs):
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "bert"}')
    settings = Settings(models_folder=tmp_path, allowed_models=["m*"])
    with TestClient(create_app(settings, jobs)) as client:
        listed = client.get("/v1/models").json()
        assert ([model["id"] for model in listed["models"]], listed["allowed"]) == (["minilm", "mine"], ["m*"])
        assert client.get("/v1/models/mine/boundaries").status_code == 200
        refused = client.get("/v1/models/other/boundaries")
        assert (refused.status_code, refused.json()["code"]) == (422, "model_not_allowed")
        assert refused.json()["errors"][0]["pointer"] == "/path/model"
        posted = client.post("/v1/explain", json={"text": "a", "model": "other"})
        assert (posted.status_code, posted.json()["code"]) == (422, "model_not_allowed")
        assert not jobs.submissions


def test_a_model_allowed_by_name_is_allowed_at_any_revision(jobs):
    with TestClient(create_app(Settings(allowed_models=["a/b"], ask_hub=False), jobs)) as client:
        assert client.post("/v1/explain", json={"text": "a", "model": "a/b@main"}).status_code == 202
        assert client.post("/v1/explain", json={"text": "a", "model": "a/b/c"}).status_code == 422
