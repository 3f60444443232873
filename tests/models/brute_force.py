"""The plain truth about a layer: attributions the slow way.

Hugging Face's own eager attention, the model's own layer called with the arguments it was called with, one gradient
per target and node, everything in float64. Nothing here uses the code under test, except `working_precision`, without
which models compute parts in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lig_core.blocks.capture import text_config
from lig_core.blocks.precision import working_precision
from tests.models.tiny_models import FAMILIES, IDS, built, first


class Truth:
    """One layer at one text, with Hugging Face's eager attention, in float64: maps by plain automatic differentiation.

    Maps are [target, source]; `nodes` and `weights` are those of a quadrature rule on (0, 1).
    """

    def __init__(
        self, model: nn.Module, layer: nn.Module, output_projection: str, inputs: Mapping[str, Tensor], call: int = 0
    ) -> None:
        self.layer, self._projection = layer, layer.get_submodule(output_projection)
        calls: list[dict[str, Any]] = []

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls.append({"args": args, "kwargs": kwargs})

        def after(_module: nn.Module, _args: Any, out: Any) -> None:
            calls[-1]["out"] = first(out)

        handles = [layer.register_forward_pre_hook(before, with_kwargs=True), layer.register_forward_hook(after)]
        with torch.no_grad(), working_precision(torch.float64):
            model(**inputs)
        for handle in handles:
            handle.remove()
        seen = calls[call]
        self._args, self._kwargs = list(seen["args"]), dict(seen["kwargs"])
        named = not self._args
        self.z: Tensor = (self._kwargs.pop("hidden_states") if named else self._args.pop(0))[0]
        self.out: Tensor = seen["out"][0]
        self.targets: Sequence[int] = range(len(self.z))  # the rows of the maps
        self.num_heads = int(getattr(text_config(model), "num_attention_heads", 1))

    def run(self, z: Tensor) -> Tensor:
        """z' [tokens, hidden] at another z."""
        with working_precision(torch.float64):
            out = first(self.layer(z[None], *self._args, **self._kwargs))
        return out[0]

    def heads(self, z: Tensor) -> Tensor:
        """Head outputs [tokens, heads, head_dim] at another z: what the output projection is given."""
        seen: list[Tensor] = []
        handle = self._projection.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
        try:
            self.run(z)
        finally:
            handle.remove()
        return seen[0].reshape(len(z), self.num_heads, -1)

    def start(self, baseline: str, target: int) -> Tensor:
        """z⁰ of a target's path."""
        return torch.zeros_like(self.z) if baseline == "zero" else self.z[target].expand_as(self.z)

    def layer_map(self, baseline: str, nodes: Tensor, weights: Tensor) -> Tensor:
        """z→z' [targets, sources]."""
        return self._map(self.run, baseline, nodes, weights)

    def att_map(self, baseline: str, nodes: Tensor, weights: Tensor) -> Tensor:
        """z→u [targets, heads, sources]."""
        return self._map(self.heads, baseline, nodes, weights)

    def _map(self, function: Callable[[Tensor], Tensor], baseline: str, nodes: Tensor, weights: Tensor) -> Tensor:
        if baseline == "zero":  # one path for all targets
            chosen, start = list(self.targets), self.start("zero", 0)
            return path_integral(lambda z: function(z)[chosen], start, self.z, nodes, weights).sum(-1)
        rows = [
            path_integral(lambda z, j=j: function(z)[j], self.start(baseline, j), self.z, nodes, weights).sum(-1)
            for j in self.targets
        ]
        return torch.stack(rows)


class TinyTruth(Truth):
    """The truth of a layer of a family's tiny model, or another model's of it, its halves as the family writes them."""

    def __init__(
        self, name: str, layer: int, inputs: Mapping[str, Tensor] | None = None, model: nn.Module | None = None
    ) -> None:
        self.family = family = FAMILIES[name]
        model = model or built(name, "eager", torch.float64)
        module = model.get_submodule(family.layers)[0 if family.shared else layer]
        inputs = inputs or {"input_ids": torch.tensor([IDS])}
        super().__init__(model, module, family.output_projection, inputs, layer if family.shared else 0)

    def stream(self, heads: Tensor, z: Tensor) -> Tensor:
        """u [..., hidden], the stream after attention."""
        with working_precision(torch.float64):
            return self.family.stream(self.layer, heads.flatten(-2)[None], z[None])[0]

    def second_half(self, u: Tensor, *, bypass: bool = True) -> Tensor:
        """z' from u; without `bypass`, through the MLP alone."""
        family = self.family
        with working_precision(torch.float64):
            moved = family.mlp(self.layer, u[None])
            return family.joined(self.layer, u[None] + moved if bypass else moved)[0]

    def finish(self, heads: Tensor, z: Tensor) -> Tensor:
        """z' from head outputs and z."""
        if self.family.parallel:
            with working_precision(torch.float64):
                return self.stream(heads, z) + self.family.mlp(self.layer, z[None])[0]
        return self.second_half(self.stream(heads, z))

    def heads_from_self(self) -> Tensor:
        """Head outputs at each target when every token is that target: [targets, heads, head_dim]."""
        return torch.stack([self.heads(self.z[j].expand_as(self.z))[j] for j in range(len(self.z))])

    def mlp_map_residual(self, baseline: str, nodes: Tensor, weights: Tensor, *, bypass: bool = True) -> Tensor:
        """u→z' [targets, dimensions of u], u the stream after attention."""
        u = self.stream(self.heads(self.z), self.z)
        start = torch.zeros_like(u) if baseline == "zero" else self.stream(self.heads_from_self(), self.z)
        return torch.stack(
            [
                path_integral(lambda x: self.second_half(x[None], bypass=bypass)[0], start[j], u[j], nodes, weights)
                for j in self.targets
            ]
        )

    def mlp_map_heads(self, baseline: str, nodes: Tensor, weights: Tensor) -> Tensor:
        """u→z' [targets, dimensions of u], u the concatenated head outputs, z's own residual held fixed."""
        u = self.heads(self.z)
        start = torch.zeros_like(u) if baseline == "zero" else self.heads_from_self()
        return torch.stack(
            [
                path_integral(
                    lambda x, j=j: self.finish(x[None], self.z[j : j + 1])[0], start[j], u[j], nodes, weights
                ).flatten()
                for j in self.targets
            ]
        )


def path_integral(
    function: Callable[[Tensor], Tensor], start: Tensor, end: Tensor, nodes: Tensor, weights: Tensor
) -> Tensor:
    """Σ_k w_k (x − x⁰) ∂‖F(x(a_k)) − F(x⁰)‖₂/∂x: integrated gradients, literally.

    F gives vectors [..., dims]; each has its own length and its own gradients: [..., like `end`].
    """
    base = function(start)
    total = torch.zeros(*base.shape[:-1], *end.shape, dtype=end.dtype)
    for a, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        x = (start + a * (end - start)).detach().requires_grad_()
        lengths = (function(x) - base).norm(dim=-1)  # its gradient is 0 where nothing has moved
        for index in np.ndindex(*lengths.shape):
            (gradient,) = torch.autograd.grad(lengths[index], x, retain_graph=True)
            total[index] += weight * gradient * (end - start)
    return total


def gauss(count: int) -> tuple[Tensor, Tensor]:
    """NumPy's Gauss-Legendre nodes and weights on (0, 1)."""
    x, w = np.polynomial.legendre.leggauss(count)
    return torch.tensor((x + 1) / 2), torch.tensor(w / 2)


@cache
def truth(name: str, layer: int, ids: tuple[int, ...] = IDS) -> TinyTruth:
    """The truth of one layer of a family's tiny model at one text."""
    return TinyTruth(name, layer, {"input_ids": torch.tensor([ids])})
