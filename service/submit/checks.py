"""Everything that is checked of a request before it is queued: may it be asked, can it be done, what will it cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lig_core.contract import ExplainRequest
from lig_core.experiment.request import ExperimentRequest
from lig_core.models.catalog import ModelCard, check_against_model
from lig_core.models.tokens import require_embedded, require_room, require_targets
from service.http.errors import ResultTooLarge
from service.settings import Settings
from service.submit.cost import DEFAULT_RATE, Estimate, estimate, seconds_of
from service.submit.known_models import KnownModel, KnownModels
from service.submit.model_shape import Shape
from service.submit.result_size import json_bytes_of
from service.submit.tokens import TokenCount, TokenCounter


class Checked(NamedTuple):
    """A request by the one spelling of its model, the model, its tokens, and its cost."""

    request: ExplainRequest
    model: KnownModel
    tokens: TokenCount
    estimate: Estimate


class RequestChecks:
    """Checks requests. One for the single route, the batch and the dry run, so that they cannot differ.

    rate: operations a second that workers were measured at; queue_seconds: until new work would start, None: unknown.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: TokenCounter,
        *,
        models: KnownModels | None = None,
        rate: Callable[[], float] = lambda: DEFAULT_RATE,
        queue_seconds: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._settings, self._tokens, self._models = settings, tokens, models or KnownModels(settings)
        self._rate, self._queue_seconds = rate, queue_seconds

    def check(self, request: ExplainRequest) -> Estimate:
        """The cost of a request that may be queued; raises a LigError that says what to do about one that may not."""
        return self.examine(request).estimate.model_copy(update={"queue_seconds": self._queue_seconds()})

    def examine(self, request: ExplainRequest) -> Checked:
        """All that was found out; raises what `check` does."""
        model = self._models.find(request.model)
        card, request = model.card, request.named(model.name)
        check_against_model(request, card)
        tokens = self._tokens.count(request, card)
        check_against_tokens(request, card, tokens, model.most_tokens)
        cost = estimate(request, model.shape, tokens, rate=self._rate())
        refuse_too_large(request, model.shape, cost, self._settings.max_result_bytes)
        return Checked(request, model, tokens, cost)

    def examine_experiment(self, request: ExperimentRequest) -> tuple[ExperimentRequest, KnownModel, float, float]:
        """The same of a pack of sentences: the request, the model, estimated seconds and the rate that they are at.

        Sentences that will be left out for their length cost nothing. Raises what `check` does, but for texts that are
        too long and results that are too large.
        """
        model, rate = self._models.find(request.model), self._rate()
        card, request = model.card, request.named(model.name)
        check_against_model(request, card)
        seconds = 0.0
        for sentence in request.sentences:
            for each in _explanations(sentence.numbered(0).text, request):
                tokens = self._tokens.count(each, card)
                if tokens.number <= min(request.most_tokens, model.most_tokens or request.most_tokens):
                    seconds += seconds_of(each, tokens, estimate(each, model.shape, tokens, rate=rate))
        return request, model, seconds, rate


def _explanations(text: str, request: ExperimentRequest) -> tuple[ExplainRequest, ExplainRequest]:
    """Explanations of a sentence that take the integrals of all pairs, each from its two starts."""
    shared = {"text": text, "model": request.model, "layers": request.layers, "rtol": request.rtol, "u_node": "heads"}
    ratios = {"baseline_att": "itb_zero_ratio", "baseline_layer": "itb_zero_ratio"}
    both = ({"granularity": "composed", **ratios}, {"granularity": "mlp", "baseline_mlp": "att_itb_a0"})
    return tuple(ExplainRequest.model_validate({**shared, **each}) for each in both)  # type: ignore[return-value]


def check_against_tokens(request: ExplainRequest, card: ModelCard, tokens: TokenCount, most: int | None) -> None:
    """Refuse what the text's tokens rule out, where they were counted, and more than `most`.

    Raises TextTooLong or InvalidRequest.
    """
    if not tokens.exact:
        return
    pointer = "/text" if request.tokens is None else "/tokens"
    require_room(tokens.number, most, card.name, pointer=pointer)
    require_embedded(tokens.names, tokens.ids, card.vocabulary, card.name, spans=tokens.spans)
    require_targets(request.target_tokens or (), tokens.number)


def refuse_too_large(request: ExplainRequest, shape: Shape | None, cost: Estimate, limit: int) -> None:
    """Refuse a result beyond `limit` bytes of JSON; raises ResultTooLarge that says what to narrow."""
    size = cost.result_json_bytes
    if size is None or shape is None or size <= limit:
        return
    sizes = {name: json_bytes_of(name, request, shape, cost.tokens, cost.targets) for name in request.maps}
    largest = max(sizes, key=sizes.__getitem__)
    share = sizes[largest] / sum(sizes.values())
    advice = [f"fewer layers (these are {cost.layers})", f"fewer target_tokens (these are {cost.targets})"]
    if largest == "att" and request.target_head is None:
        advice.append(f"one target_head (these are {shape.heads})")
    if len(sizes) > 1:
        advice.append(f"a granularity without '{largest}', which makes up {share:.0%}")
    if request.labels:
        advice.append("labels=false")
    raise ResultTooLarge(
        f"the result would be about {size} bytes of JSON, {limit} are accepted; ask for {', or '.join(advice)}, "
        "or send a shorter text"
    )
