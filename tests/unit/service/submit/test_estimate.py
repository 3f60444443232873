"""What a request is said to cost, against what it does cost."""

import pytest

from lig_core.contract import parse_request
from lig_core.errors import InvalidRequest, TextTooLong
from lig_core.models.catalog import ModelCard, find_model
from lig_core.models.tokenizer_files import most_tokens
from lig_core.result.plain.text import to_json
from service.http.errors import ModelNotAllowed, ResultTooLarge
from service.settings import Settings
from service.submit.checks import RequestChecks, check_against_tokens
from service.submit.cost import DEFAULT_RATE, TYPICAL, estimate
from service.submit.model_shape import Shape
from service.submit.tokens import TokenCount, TokenCounter, guess
from tests.models.tiny_models import tiny_tokenizer
from tests.support.closeness import assert_close

SENTENCE = (
    "Explanations of a model are only as good as the question they answer, and the committee that was asked to judge "
    "the matter argued late into the night about what the measurement could and could not show. "
)
ZERO = {"baseline_layer": "zero", "baseline_att": "zero", "baseline_mlp": "zero"}
ITB = {"baseline_layer": "self_input_token", "baseline_att": "self_input_token", "baseline_mlp": "att_itb_a0"}
SHORT, MEDIUM, LONG = "The cat sat on the mat.", SENTENCE * 2, SENTENCE * 6


@pytest.fixture(scope="module")
def minilm():
    return find_model("minilm")


@pytest.fixture(scope="module")
def explained():
    """JSON bytes of a request's true result."""
    from functools import cache

    from lig_core.loading.loaded import load_model
    from lig_core.method import run

    load = cache(lambda dtype: load_model(find_model("minilm"), device="cpu", dtype=dtype))
    return lambda request: len(to_json(run(request, load(request.dtype))))


def request(text=SHORT, **fields):
    return parse_request({"text": text, "model": "minilm"} | fields)


def cost(asked, card, **more):
    return estimate(asked, Shape.of(card), TokenCounter().count(asked, card), **more)


@pytest.mark.parametrize(("text", "tokens"), [(SHORT, 9), ("unbelievable tokenization", None), ("a" * 300, None)])
def test_tokens_are_those_of_the_model_s_own_tokenizer(minilm, text, tokens):
    from transformers import AutoTokenizer

    found = TokenCounter().count(request(text), minilm)
    own = len(AutoTokenizer.from_pretrained(minilm.source)(text)["input_ids"])
    assert (found.number, found.exact) == (own, True)
    assert tokens in (None, own)


def test_a_long_text_is_counted_whole(minilm):
    assert TokenCounter().count(request("cat " * 1000), minilm) == TokenCount(1002, exact=True)


def test_without_a_tokenizer_tokens_are_guessed_and_marked_so(minilm):
    guessed = TokenCounter().count(request(LONG), ModelCard("x/y", "x/y", None, {}))
    assert guessed == guess(LONG)
    assert not guessed.exact
    assert 0.5 < guessed.number / TokenCounter().count(request(LONG), minilm).number < 2


def test_tokens_that_were_sent_are_counted_whatever_the_model():
    sent = parse_request({"tokens": ["<s>", "cat"], "model": "x/y", "merge_subwords": True})
    assert TokenCounter().count(sent, ModelCard("x/y", "x/y", None, {})) == TokenCount(2, exact=True)


def test_words_are_merged_of_tokens_only_where_these_tell_the_words(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path)
    sent = {"tokens": ["<bos>", "cat"], "model": "tiny"}
    card = ModelCard("tiny", str(tmp_path), None, {})
    assert TokenCounter().count(parse_request(sent), card).number == 2
    with pytest.raises(InvalidRequest, match="the tokens of tiny do not tell where words begin") as caught:
        TokenCounter().count(parse_request(sent | {"merge_subwords": True}), card)
    assert [fault.pointer for fault in caught.value.errors] == ["/merge_subwords"]


@pytest.mark.parametrize("baselines", [ZERO, ITB], ids=["zero", "itb"])
@pytest.mark.parametrize(
    ("text", "granularity"),
    [(SHORT, "layer"), (SHORT, "att"), (SHORT, "mlp"), (SHORT, "composed"), (MEDIUM, "all")],
    ids=["layer", "att", "mlp", "composed", "all"],
)
def test_the_json_of_a_result_is_as_large_as_said(minilm, explained, text, granularity, baselines):
    asked = request(text, granularity=granularity, layers=[2], **baselines)
    assert_close(cost(asked, minilm).result_json_bytes, explained(asked), 0.2)


@pytest.mark.parametrize(
    "fields",
    [
        {"granularity": "layer", "target_tokens": [1, 5]},
        {"granularity": "all", "target_tokens": [3]},
        {"granularity": "att", "target_head": 3},
        {"granularity": "mlp", "u_node": "heads"},
        {"granularity": "layer", "labels": True},
        {"granularity": "layer", "dtype": "float64"},
    ],
    ids=str,
)
def test_narrower_and_wider_requests_are_as_large_as_said(minilm, explained, fields):
    asked = request(MEDIUM, layers=[2], **fields)
    assert_close(cost(asked, minilm).result_json_bytes, explained(asked), 0.2)


def test_work_is_by_layer_map_and_target(minilm):
    everything = cost(request(MEDIUM), minilm)
    assert [(part.map, part.baseline) for part in everything.maps] == [
        ("layer", "self_input_token"),
        ("att", "self_input_token"),
        ("mlp", "zero"),  # from the head outputs, for composed
        ("mlp", "zero"),
    ]
    assert everything.layers == 6
    one = cost(request(MEDIUM, layers=[3], granularity="layer"), minilm)
    assert one.flops < everything.flops / 6
    assert cost(request(MEDIUM, target_tokens=[1]), minilm).flops < everything.flops / 5
    assert cost(request(MEDIUM, rtol=1e-6), minilm).flops > everything.flops
    assert cost(request(MEDIUM, dtype="float64"), minilm).flops > 1.9 * everything.flops - 1e10


@pytest.mark.parametrize(
    ("cheap", "dear", "times"),  # measured on the bundled model, 2 cores
    [
        ({"granularity": "layer"}, {"granularity": "layer", **ZERO}, 3.4),
        ({"granularity": "att"}, {"granularity": "layer", **ZERO}, 3.8),
        ({"granularity": "layer"}, {"granularity": "all"}, 3.7),
        ({"granularity": "mlp"}, {"granularity": "all", **ZERO}, 5.8),
    ],
)
def test_costs_stand_to_each_other_as_measured(minilm, cheap, dear, times):
    text, shape = TokenCount(200, exact=True), Shape.of(minilm)
    found = [estimate(request(LONG, **{**ITB, **fields}), shape, text).seconds for fields in (cheap, dear)]
    assert times / 2 < found[1] / found[0] < times * 2


FEW = {"target_tokens": [3], "layers": [0, 3]}


@pytest.mark.parametrize(
    ("cheap", "dear", "times"),  # (tokens, fields); measured on the bundled model, one thread
    [
        ((128, {"granularity": "layer", **FEW}), (512, {"granularity": "layer", **FEW}), 6.1),
        ((128, {"granularity": "mlp", **FEW}), (512, {"granularity": "mlp", **FEW}), 5.5),
        ((128, {"granularity": "att", **FEW}), (256, {"granularity": "att", **FEW}), 2.4),
        ((10, {"granularity": "layer", **FEW}), (512, {"granularity": "layer", **FEW}), 8.4),
        ((256, {"granularity": "mlp", **FEW}), (256, {"granularity": "all", **FEW}), 2.5),
        ((512, {"granularity": "mlp", **FEW}), (512, {"granularity": "layer", **FEW}), 1.5),
        (
            (512, {"granularity": "all", **FEW}),
            (512, {"granularity": "all", **FEW, "target_tokens": [1, 2, 3, 4]}),
            1.0,
        ),
        (
            (512, {**FEW, "granularity": "mlp", "layers": [0]}),
            (512, {**FEW, "granularity": "mlp", "layers": [*range(6)]}),
            1.9,
        ),
        (
            (512, {**FEW, "granularity": "att", "layers": [0]}),
            (512, {**FEW, "granularity": "att", "layers": [*range(6)]}),
            3.0,
        ),
    ],
)
def test_few_targets_of_a_long_text_cost_as_measured(minilm, cheap, dear, times):
    found = [
        estimate(request(LONG, **fields), Shape.of(minilm), TokenCount(tokens, exact=True)).seconds
        for tokens, fields in (cheap, dear)
    ]
    assert times / 2 < found[1] / found[0] < times * 2


def test_a_fixed_rule_costs_its_nodes(minilm):
    assert {part.nodes for part in cost(request(num_steps=40), minilm).maps} == {40}


def test_seconds_follow_the_rate_and_the_queue_is_passed_on(minilm):
    slow, fast = (cost(request(LONG), minilm, rate=rate, queue_seconds=4.0) for rate in (1e9, 1e12))
    assert slow.seconds > 10 * fast.seconds
    assert (slow.rate, slow.queue_seconds) == (1e9, 4.0)


def test_a_model_that_is_not_known_has_a_cost_all_the_same():
    unknown = ModelCard("x/y", "x/y", None, {})
    asked = parse_request({"text": LONG, "model": "x/y"})
    found = cost(asked, unknown)
    assert (found.flops, found.seconds, found.result_json_bytes, found.layers) == (None, None, None, None)
    assert estimate(asked, TYPICAL, guess(LONG)).seconds > 1
    assert found.rate == DEFAULT_RATE


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024},
        {"model_type": "llama", "num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096,
         "intermediate_size": 14336, "num_key_value_heads": 8, "hidden_act": "silu"},
        {"model_type": "gemma3", "text_config": {"num_hidden_layers": 26, "num_attention_heads": 4, "hidden_size": 1152,
                                                 "head_dim": 256}},
        {"model_type": "mamba", "num_hidden_layers": 4, "hidden_size": 128},
        {"model_type": "t5", "num_layers": 6, "num_heads": 8, "d_model": 512, "d_ff": 2048, "d_kv": 64},
    ],
    ids=lambda config: config["model_type"],
)  # fmt: skip
def test_every_family_s_config_is_enough(config):
    found = cost(
        parse_request({"text": SHORT, "model": "x", "granularity": "layer"}), ModelCard("x", "x", None, config)
    )
    assert found.flops > 0
    assert found.peak_bytes > found.result_binary_bytes > 0


def test_the_route_answers_and_queues_nothing(api, jobs):
    answer = api.post("/v1/explain/estimate", json={"text": SHORT, "model": "minilm"})
    assert answer.status_code == 200
    assert (answer.json()["tokens"], answer.json()["tokens_exact"], answer.json()["layers"]) == (9, True, 6)
    assert not jobs.submissions


@pytest.mark.parametrize("path", ["/v1/explain", "/v1/explain/estimate"])
def test_tokens_in_place_of_a_text_are_checked_before_they_are_queued(api, jobs, path):
    def post(tokens, **more):
        return api.post(path, json={"tokens": tokens, "model": "minilm", **more})

    good = ["[CLS]", "the", "cat", "##s", "[MASK]", "[SEP]"]
    assert post(good, merge_subwords=True).status_code == (200 if path.endswith("estimate") else 202)
    assert [submission.request.tokens for submission in jobs.submissions] == ([] if "estimate" in path else [good])
    jobs.submissions.clear()
    unknown = post(["[CLS]", "Cat", "the", "<s>", *["no"], *["zzzz"] * 9])
    assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_request")
    assert [error["pointer"] for error in unknown.json()["errors"]] == [f"/tokens/{k}" for k in (1, 3, 5, 6, 7)]
    assert "token 1 ('Cat'), token 3 ('<s>'), token 5" in unknown.json()["detail"]
    assert "and 6 more: not in the vocabulary of minilm; send" in unknown.json()["detail"]
    assert post([]).json()["errors"][0]["pointer"] == "/tokens"
    both = post(good, text=SHORT)
    assert (both.status_code, both.json()["errors"][0]["pointer"]) == (422, "/text")
    assert "both text and tokens are given" in both.json()["detail"]
    long = post(["cat"] * 513)
    assert (long.json()["code"], long.json()["errors"][0]["pointer"]) == ("text_too_long", "/tokens")
    assert "513 tokens, minilm takes at most 512" in long.json()["detail"]
    assert post(good, target_tokens=[6]).json()["errors"][0]["pointer"] == "/target_tokens"
    assert not jobs.submissions


@pytest.mark.parametrize("path", ["/v1/explain", "/v1/explain/estimate"])
def test_what_could_not_be_done_is_refused_before_it_is_queued(api, jobs, path):
    long = api.post(path, json={"text": "cat " * 600, "model": "minilm"})
    assert (long.status_code, long.json()["code"]) == (422, "text_too_long")
    assert "602 tokens, minilm takes at most 512" in long.json()["detail"]
    beyond = api.post(path, json={"text": SHORT, "model": "minilm", "target_tokens": [9]})
    assert beyond.json()["errors"][0]["pointer"] == "/target_tokens"
    assert not jobs.submissions


def test_a_text_is_held_against_the_positions_less_those_of_padding():
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8, "max_position_embeddings": 514}
    card = ModelCard("x", "x", None, {"model_type": "roberta", "pad_token_id": 1, **sizes})
    check_against_tokens(request(SHORT), card, TokenCount(512, exact=True), most_tokens(card))
    with pytest.raises(TextTooLong, match="513 tokens, x takes at most 512"):
        check_against_tokens(request(SHORT), card, TokenCount(513, exact=True), most_tokens(card))


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"granularity": "all"}, ["fewer layers (these are 6)", "one target_head (these are 12)", "without 'att'"]),
        ({"granularity": "layer", "labels": True}, ["fewer target_tokens (these are ", "labels=false"]),
    ],
)
def test_a_result_beyond_the_limit_is_413_and_says_what_to_narrow(fields, advice):
    with pytest.raises(ResultTooLarge) as caught:
        RequestChecks(Settings(max_result_bytes=100_000), TokenCounter()).check(request(MEDIUM, **fields))
    assert all(part in caught.value.detail for part in advice)
    assert RequestChecks(Settings(), TokenCounter()).check(request(MEDIUM, **fields)).result_json_bytes > 100_000


def test_a_result_of_just_the_limit_is_within_it():
    size = RequestChecks(Settings(), TokenCounter()).check(request(MEDIUM)).result_json_bytes
    assert (
        RequestChecks(Settings(max_result_bytes=size), TokenCounter()).check(request(MEDIUM)).result_json_bytes == size
    )
    with pytest.raises(ResultTooLarge):
        RequestChecks(Settings(max_result_bytes=size - 1), TokenCounter()).check(request(MEDIUM))


@pytest.mark.parametrize(
    ("model", "patterns"),
    [("minilm", ["minilm"]), ("minilm", ["mini*"]), ("minilm", ["*"])],
)
def test_an_allowed_model_passes(model, patterns):
    RequestChecks(Settings(allowed_models=patterns), TokenCounter()).check(request(model=model))


@pytest.mark.parametrize("patterns", [[], ["google-bert/*"], ["MiniLM"]])
def test_another_model_is_refused_with_those_that_are_allowed(patterns):
    with pytest.raises(ModelNotAllowed, match="'minilm' is not among") as caught:
        RequestChecks(Settings(allowed_models=patterns), TokenCounter()).check(request())
    assert all(pattern in caught.value.detail for pattern in patterns)
