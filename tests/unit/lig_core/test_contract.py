"""What a request may say, and that every refusal names the field at fault."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from lig_core.contract import MAX_TEXT_CHARACTERS, ExplainRequest, parse_request
from lig_core.errors import InvalidRequest
from lig_core.models.catalog import ModelCard, check_against_model

CARD = ModelCard("six layers", "", None, {"model_type": "bert", "num_hidden_layers": 6, "num_attention_heads": 12})


def pointers(**fields: Any) -> list[str]:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({"text": "a text", **fields})
    assert refused.value.code == "invalid_request"
    assert all(fault.detail for fault in refused.value.errors)
    return [fault.pointer for fault in refused.value.errors]


def test_an_unknown_field_is_refused_by_its_name() -> None:
    assert pointers(steps=3) == ["/steps"]


BLANK = {
    "nothing": "",
    "spaces": " \n\t\u00a0\u2003\u3000",
    "NUL": "\0",
    "controls": "\x01\x1b\x7f\x85",
    "joiners": "\u200b\u200c\u200d\u2060\ufeff",
    "marks of direction": "\u200e\u202e\u2066\u061c",
    "lines": "\u2028\u2029",
    "soft hyphens": "\u00ad",
    "fillers": "\u115f\u1160\u3164\uffa0\u2800",
    "selectors": "\ufe0f\U000e0100\u180b\u034f",
    "tags": "\U000e0001\U000e0041\U000e007f",
}


@pytest.mark.parametrize("text", [*BLANK.values(), "".join(BLANK.values())], ids=[*BLANK, "all of them"])
def test_a_text_with_nothing_to_see_is_refused_as_an_empty_one_is(text: str) -> None:
    assert pointers(text=text) == ["/text"]
    with pytest.raises(InvalidRequest, match="the text is empty; send at least one visible character"):
        parse_request({"text": text})


@pytest.mark.parametrize("seen", ["a", ".", "é", "e\u0301", "漢", "ㅏ", "😀", "🇩", "\ue000", "\u20dd"])
def test_one_visible_character_is_a_text(seen: str) -> None:
    hidden = "".join(BLANK.values())
    assert parse_request({"text": hidden + seen + hidden}).text == hidden + seen + hidden


def test_a_text_beyond_the_limit_is_refused() -> None:
    parse_request({"text": "a" * MAX_TEXT_CHARACTERS})
    assert pointers(text="a" * (MAX_TEXT_CHARACTERS + 1)) == ["/text"]


def test_a_missing_text_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({})
    assert [fault.pointer for fault in refused.value.errors] == ["/text"]


@pytest.mark.parametrize(
    "tokens", [[], "a b", [1], [None], ["a" * (MAX_TEXT_CHARACTERS // 2), "b" * MAX_TEXT_CHARACTERS]]
)
def test_tokens_that_cannot_be_are_refused(tokens: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({"tokens": tokens})
    assert [fault.pointer.removesuffix("/0") for fault in refused.value.errors] == ["/tokens"]


def test_either_a_text_or_tokens_are_asked_about() -> None:
    assert parse_request({"tokens": ["a", "b"]}).subject == ["a", "b"]
    assert parse_request({"text": "a b"}).subject == "a b"
    assert parse_request({"text": None, "tokens": ["a"]}) == parse_request({"tokens": ["a"]})
    for both in ({"text": "a", "tokens": ["a"]}, {"text": "", "tokens": ["a"]}):
        with pytest.raises(InvalidRequest, match="text: both text and tokens are given; send one of them"):
            parse_request(both)
    for neither in ({}, {"text": None}, {"text": None, "tokens": None}):
        with pytest.raises(InvalidRequest, match="text: nothing to explain; send a text, or its tokens"):
            parse_request(neither)


def test_tokens_are_part_of_the_digest_only_where_they_are_asked_about() -> None:
    text, tokens = parse_request({"text": "a b"}), parse_request({"tokens": ["a", "b"]})
    assert "tokens" not in text.canonical()
    assert "text" not in tokens.canonical()
    assert parse_request({"text": "a b", "tokens": None}).digest == text.digest
    others = [parse_request({"tokens": other}).digest for other in (["a b"], ["b", "a"])]
    assert len({text.digest, tokens.digest, *others}) == 4


@pytest.mark.parametrize("granularity", ["heads", [], ["att", "heads"], 3, None])
def test_a_bad_granularity_is_refused(granularity: Any) -> None:
    assert pointers(granularity=granularity) == ["/granularity"]


@pytest.mark.parametrize(
    "field", ["baseline_att", "baseline_mlp", "baseline_layer", "u_node", "on_unconverged", "dtype"]
)
def test_a_choice_that_does_not_exist_is_refused(field: str) -> None:
    assert pointers(**{field: "nonsense"}) == [f"/{field}"]


@pytest.mark.parametrize(("field", "value"), [("rtol", 0), ("rtol", 0.5), ("num_steps", 0), ("num_steps", 5000)])
def test_a_number_out_of_range_is_refused(field: str, value: float) -> None:
    assert pointers(**{field: value}) == [f"/{field}"]


@pytest.mark.parametrize("field", ["layers", "target_tokens"])
def test_a_negative_or_missing_index_is_refused(field: str) -> None:
    assert pointers(**{field: [0, -1]}) == [f"/{field}/1"]
    assert pointers(**{field: []}) == [f"/{field}"]


def test_every_fault_of_a_request_is_named_at_once() -> None:
    assert pointers(rtol=7, dtype="float16", nonsense=1) == ["/rtol", "/dtype", "/nonsense"]


def test_cutting_the_residual_connection_is_refused_where_u_is_the_heads() -> None:
    assert pointers(u_node="heads", include_residual_connection=False) == ["/include_residual_connection"]
    assert not parse_request({"text": "a text", "include_residual_connection": False}).include_residual_connection


@pytest.mark.parametrize("data", [None, 3, "text", ["text"]])
def test_what_is_no_object_is_refused(data: object) -> None:
    with pytest.raises(InvalidRequest):
        parse_request(data)


@pytest.mark.parametrize("field", ["layers", "target_tokens"])
def test_a_duplicate_is_refused_with_a_pointer_to_its_field(field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({"text": "a text", field: [1, 1]})
    assert [fault.pointer for fault in refused.value.errors] == [f"/{field}"]


@pytest.mark.parametrize(("name", "pointer"), [("a/b", "/a~1b"), ("a~b", "/a~0b")])
def test_a_pointer_is_escaped_as_rfc_6901_asks(name: str, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({"text": "a text", name: 1})
    assert [fault.pointer for fault in refused.value.errors] == [pointer]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"layers": [0, 6]}, ["/layers"]),
        ({"target_head": 12}, ["/target_head"]),
        ({"layers": [9], "target_head": 99}, ["/layers", "/target_head"]),
    ],
)
def test_what_the_model_does_not_have_is_refused(fields: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_against_model(parse_request({"text": "a text", **fields}), CARD)
    assert [fault.pointer for fault in refused.value.errors] == expected
    assert "0 to" in refused.value.detail


def test_what_the_model_has_is_accepted() -> None:
    check_against_model(parse_request({"text": "a text", "layers": [0, 5], "target_head": 11}), CARD)


def test_a_model_whose_config_is_unknown_is_not_judged() -> None:
    check_against_model(parse_request({"text": "a text", "layers": [99]}), ModelCard("unknown", "", None, {}))


def test_the_defaults_are_those_of_the_authors_library() -> None:
    request = parse_request({"text": "a text"})
    assert (request.baseline_att, request.baseline_mlp, request.baseline_layer) == (
        "self_input_token",
        "zero",
        "self_input_token",
    )
    assert request.maps == ("att", "mlp", "layer", "composed")
    assert request.include_residual_connection


def test_maps_are_listed_once_and_in_order() -> None:
    assert parse_request({"text": "t", "granularity": ["layer", "att", "layer"]}).maps == ("att", "layer")
    assert parse_request({"text": "t", "granularity": ["mlp", "all"]}).maps == ("att", "mlp", "layer", "composed")
    assert parse_request({"text": "t", "granularity": "composed"}).maps == ("composed",)


def test_a_request_cannot_be_changed() -> None:
    request = parse_request({"text": "a text"})
    with pytest.raises(ValidationError):
        request.text = "another"  # type: ignore[misc]


def test_a_request_survives_json() -> None:
    request = parse_request({"text": "a text", "granularity": ["att"], "layers": [1], "rtol": 1e-4})
    assert ExplainRequest.model_validate_json(request.model_dump_json()) == request


def test_a_digest_is_that_of_what_is_asked_not_of_how() -> None:
    def digest(**fields: Any) -> str:
        return ExplainRequest(text="a café", model="minilm", **fields).digest

    assert digest() == digest(granularity=["all", "att"]) == digest(priority="bulk")
    assert len({digest(), digest(layers=[0]), digest(rtol=1e-4), digest(granularity="att")}) == 4
    canonical = ExplainRequest(text="a café", model="minilm").canonical()
    told = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert digest() == hashlib.sha256(told.encode()).hexdigest()


@pytest.mark.parametrize("text", [..., None, "a b"])
@pytest.mark.parametrize("tokens", [..., None, ["a", "b"]])
def test_the_schema_takes_a_text_or_tokens_where_the_request_does(text: Any, tokens: Any) -> None:
    given = {name: value for name, value in {"text": text, "tokens": tokens}.items() if value is not ...}
    fits = Draft202012Validator(ExplainRequest.model_json_schema()).is_valid(given)
    assert fits == (isinstance(text, str) != isinstance(tokens, list))
    if fits:
        parse_request(given)
    else:
        with pytest.raises(InvalidRequest):
            parse_request(given)
