"""Tensor calls of a text: `python -m benchmarks.calls`. Counts are the same on any machine.

A line for each text and map: tokens, calls in all and those that compute, which a GPU launches; the others look at what
is there in another shape. `tests/unit/lig_core/test_tensor_calls.py` holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from lig_core.contract import ExplainRequest
from lig_core.loading.kept import kept_model
from lig_core.loading.loaded import LoadedModel
from lig_core.method import stream
from lig_core.models.catalog import find_model

SENTENCE = "The cat sat on the mat."
TEXTS = (
    SENTENCE,
    "Explanations of a model are only as good as the question they answer, and the committee argued late.",
)
MAPS = ("layer", "att", "mlp", "composed", "all")


SHAPES = {"detach", "_unsafe_view", "empty", "empty_like", "new_empty", "empty_strided", "lift_fresh"}
"""Operations beside views that compute nothing."""


class Calls(TorchDispatchMode):
    """Counts the operations that reach torch's dispatcher, and those of them that compute."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.computing = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.count += 1
        self.computing += not (func.is_view or func._schema.name.removeprefix("aten::") in SHAPES)
        return func(*args, **(kwargs or {}))


def calls_of(model: LoadedModel, text: str, granularity: str) -> tuple[int, Calls]:
    """Tokens of a text, and the tensor calls that all layers of it take."""
    request = ExplainRequest(text=text, model=model.card.name, granularity=[granularity])
    head, layers = stream(request, model)
    with Calls() as calls:
        list(layers)
    return len(head["tokens"]), calls


def main() -> None:
    """Count and print."""
    model = kept_model(find_model("minilm"), "cpu", "float32")
    for text in TEXTS:
        for granularity in MAPS:
            tokens, calls = calls_of(model, text, granularity)
            print(f"T = {tokens}, {granularity}: {calls.count:,} calls, {calls.computing:,} computing", flush=True)


if __name__ == "__main__":
    main()
