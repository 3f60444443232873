"""The factored engine: all targets at once, by meeting at the head outputs.

A block is pre | mix | post. At one node of the path, for every target j at the same time:

1. the path gives the head outputs o_j (attention, forward);
2. one vector-Jacobian product of Σ_j L_j through post gives each target's own gradient c_j at o_j and r_j at
   its residual input, because post is token by token;
3. the two meet in the path's closed expression for the rates (engines.path).

So a node costs one attention and one forward and backward pass of post, not one backward pass per target.
Source: the chain rule applied to set-to-set IG (LIG, arXiv 2606.21564).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from lig_core.blocks.attention import attention_weights, logit_range
from lig_core.blocks.block import Block, WholeBlock
from lig_core.blocks.patching import linear_width
from lig_core.engines.chunking import Budget, ChunkedIntegrand, is_whole, share_lost, sizes
from lig_core.engines.gathering import on_host
from lig_core.engines.path import Path, own_nodes
from lig_core.quadrature.integrand import Array, Parts, Start

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


@dataclass(frozen=True)
class _Ends:
    """The two ends of a path that mixes, from one attention.

    base is F(z⁰); fixed the witness's vector [heads, targets, head_dim]: ∂L_j/∂o_j at a = 1; total L_j(1) [columns];
    growth what the witness grows by [columns, sources]. The latter two are on the host, in float64.
    """

    base: Tensor
    fixed: Tensor
    total: Tensor
    growth: Tensor


class LayerIntegrand(ChunkedIntegrand):
    """z→z': L_j = ‖block(z(a))_j − block(z⁰)_j‖₂; a column is a target token, a source a token."""

    witnessed = True

    def __init__(self, block: Block, path: Path, targets: Tensor, budget: Budget) -> None:
        super().__init__(budget)
        self._block, self._path, self._targets = block, path, targets
        self.num_columns, self.num_sources = len(targets), block.num_tokens
        self.start: Start = "shared" if path.moving else "measured"
        self.engine = f"factored/{path.law}"
        self.dtype, self.device = block.z.dtype, block.z.device
        self.kinked, self.routed = block.kinked, block.routed

    @cached_property
    def _ends(self) -> _Ends:
        block = self._block
        base = block.z.new_empty(len(self._targets), block.z.shape[-1])
        fixed = block.z.new_empty(self._path.num_heads, len(self._targets), block.heads_out.shape[-1])
        total, growth = self._gathered(self.num_columns), self._gathered(self.num_columns, self.num_sources)

        def step(_: slice, part: slice) -> None:
            rows, (a,) = self._targets[part], self._placed(ENDS)
            mixed = self._path.attend(a, rows)
            with torch.enable_grad():
                heads = _as_rows(mixed.heads_out).detach().requires_grad_()
                out = block.finish(heads, self._path.residual_input(a, rows).flatten(0, 1)).unflatten(0, (2, len(rows)))
                base[part] = out[0].detach()
                lengths = (out[1] - out[0].detach()).norm(dim=-1)
                (c,) = torch.autograd.grad(lengths.sum(), heads)
            fixed[:, part] = c.unflatten(0, (2, len(rows)))[1].transpose(0, 1)
            total.put(part, lengths.detach())
            growth.put(part, mixed.shares(fixed[None, :, part]).sum(1).diff(dim=0)[0])

        self._for_chunks(1, self.num_columns, step, 2 * self.bytes_per_pair())
        return _Ends(base, fixed, *on_host(total, growth))

    @property
    def origin(self) -> Tensor:
        """block(z⁰)_j."""
        return self._ends.base

    def totals(self) -> Tensor:
        """L_j(1) [columns], float64."""
        return self._ends.total

    def growth(self) -> Tensor:
        """Of the witness along the whole path [columns, sources], float64."""
        return self._ends.growth

    def bytes_per_pair(self) -> int:
        """Attention's rows of scores, and the activations that the backward pass of post keeps."""
        return mixing_bytes(self._block, self._path.num_heads) + post_bytes(self._block)

    def _lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        (a,), (rows, base) = self._placed(a), self._rows(columns, self._targets, self._ends.base)
        heads = self._path.attend(a, rows).heads_out
        with torch.no_grad():
            out = self._block.finish(_as_rows(heads), self._path.residual_input(a, rows).flatten(0, 1))
        return (out.unflatten(0, (len(a), len(rows))) - base).norm(dim=-1)

    def _rates(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (a,), (rows, base) = self._placed(a), self._rows(columns, self._targets, self._ends.base)
        mixed = self._path.attend(a, rows)
        lengths, c, r = self._gradients(a, rows, base, mixed.heads_out)
        rate = mixed.rates(c).sum(1)  # [nodes, targets, sources]
        if r is not None:
            own = (r * self._block.z[rows]).sum(-1)
            rate[:, torch.arange(len(rows), device=rows.device), rows] += own
        return lengths, rate, mixed.share_rates(self._fixed(columns)).sum(1)

    def _shares(self, a: Tensor, columns: Tensor) -> Tensor:
        (a,), (rows,) = self._placed(a), self._rows(columns, self._targets)
        return self._path.attend(a, rows).shares(self._fixed(columns)).sum(1)

    def _fixed(self, columns: Tensor) -> Tensor:
        """The witness's vector, the same at all nodes [1, heads, targets, head_dim]."""
        return self._rows(columns, self._ends.fixed, dim=1)[0].unsqueeze(0)

    def _gradients(
        self, a: Tensor, rows: Tensor, base: Tensor, heads_out: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """L [nodes, targets], ∂L_j/∂o_j like heads_out, and ∂L_j/∂z_j [nodes, targets, hidden] where z_j moves."""
        z = self._path.residual_input(a, rows)  # [nodes, targets, hidden]
        base = base.expand_as(z).flatten(0, 1)
        shape, inputs, r = z.shape[:2], [_as_rows(heads_out)], None
        if self._path.moving:
            inputs.append(z.flatten(0, 1))
            lengths, (c, r) = lengths_and_gradients(self._block.finish, inputs, base)
            r = r.unflatten(0, shape)
        else:
            still = z.flatten(0, 1)
            lengths, (c,) = lengths_and_gradients(lambda heads: self._block.finish(heads, still), inputs, base)
        return lengths.unflatten(0, shape), c.unflatten(0, shape).transpose(1, 2), r

    def parts(self, columns: Tensor) -> Parts | None:
        """Where attention may switch; from zero also where the sources' norms bend, or how the head outputs move."""
        switches = self._switch_widths[columns]
        if not self._path.moving:
            return Parts(switches=switches)
        widths = self._path.source_widths()
        if widths is None:
            return Parts(lengths=partial(self._measured, self._heads_moved), switches=switches)
        seen = attention_weights(self._block.attention)[0].amax(0)[self._targets] > 0  # [targets, sources]
        nearest = torch.where(seen, widths, 1.0).amin(-1)
        return Parts(widths=nearest.cpu().double()[columns], switches=switches)

    @cached_property
    def _switch_widths(self) -> Tensor:
        return switch_widths(self._block)[:, self._targets].amin(0).cpu().double()

    def _logit_range(self) -> Array | float:
        """On targets' own paths."""
        return 0.0 if self._path.moving else 1 / self._switch_widths.numpy()

    def _heads_moved(self, a: Tensor, columns: Tensor) -> Tensor:
        """‖o_j(a) − o_j(0)‖ over all heads, [nodes, columns]."""
        (a,), (rows,) = self._placed(a), self._rows(columns, self._targets)
        heads_out = self._path.attend(_from_start(a), rows).heads_out
        return (heads_out[1:] - heads_out[:1]).norm(dim=(1, 3))


class AttentionIntegrand(ChunkedIntegrand):
    """z→u per head: L = ‖o_j^h(a) − o_j^h(0)‖₂ before the output projection; a column is (target, head)."""

    witnessed = True

    def __init__(self, block: Block, path: Path, targets: Tensor, budget: Budget) -> None:
        super().__init__(budget)
        self._block, self._path, self._targets = block, path, targets
        self.num_columns, self.num_sources = len(targets) * path.num_heads, block.num_tokens
        self.start: Start = "shared" if path.moving else "measured"
        self.engine = f"factored/{path.law}"
        self.dtype, self.device = block.z.dtype, block.z.device

    @cached_property
    def _ends(self) -> _Ends:
        shape = (self._path.num_heads, len(self._targets))
        base = self._block.z.new_empty(*shape, self._block.heads_out.shape[-1])
        fixed = torch.empty_like(base)
        total, growth = self._gathered(*shape), self._gathered(*shape, self.num_sources)

        def step(_: slice, part: slice) -> None:
            (a,) = self._placed(ENDS)
            mixed = self._path.attend(a, self._targets[part])
            base[:, part] = mixed.heads_out[0]
            lengths, fixed[:, part] = _length_and_direction(mixed.heads_out[1] - mixed.heads_out[0])
            total.put((slice(None), part), lengths)
            growth.put((slice(None), part), mixed.shares(fixed[None, :, part]).diff(dim=0)[0])

        self._for_chunks(1, len(self._targets), step, 2 * self._path.num_heads * self.bytes_per_pair())
        return _Ends(base, fixed, *(x.transpose(0, 1).flatten(0, 1) for x in on_host(total, growth)))

    @property
    def origin(self) -> Tensor:
        """o_j^h(0)."""
        return self._ends.base.transpose(0, 1).flatten(0, 1)

    def bytes_per_pair(self) -> int:
        """Attention's rows of scores, for one head."""
        return mixing_bytes(self._block, 1)

    def parts(self, columns: Tensor) -> Parts | None:
        """Where attention may switch."""
        return Parts(switches=self._switch_widths[columns])

    @cached_property
    def _switch_widths(self) -> Tensor:
        return switch_widths(self._block)[self._path.heads][:, self._targets].T.flatten().cpu().double()

    def _logit_range(self) -> Array | float:
        """On targets' own paths."""
        return 0.0 if self._path.moving else 1 / self._switch_widths.numpy()

    def totals(self) -> Tensor:
        """L_j(1) [columns], float64."""
        return self._ends.total

    def growth(self) -> Tensor:
        """Of the witness along the whole path [columns, sources], float64."""
        return self._ends.growth

    def _lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        here = self._at(a, columns)
        return here.by_column((self._path.attend(here.a, here.rows).heads_out - here.base).norm(dim=-1))

    def _rates(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        here = self._at(a, columns)
        mixed = self._path.attend(here.a, here.rows)
        lengths, c = _length_and_direction(mixed.heads_out - here.base)
        rates, share_rates = mixed.rates(c), mixed.share_rates(here.fixed)
        return here.by_column(lengths), here.by_column(rates), here.by_column(share_rates)

    def _shares(self, a: Tensor, columns: Tensor) -> Tensor:
        here = self._at(a, columns)
        return here.by_column(self._path.attend(here.a, here.rows).shares(here.fixed))

    def _at(self, a: Tensor, columns: Tensor) -> _TargetsAt:
        """The targets that columns touch; one counts once for each set of nodes.

        They are found on the host: a device would have to be waited for.
        """
        base, fixed = self._ends.base, self._ends.fixed
        if a.dim() == 1 and is_whole(columns, self.num_columns):
            (a,) = self._placed(a)
            return _TargetsAt(a, self._targets, base, fixed[None], None)
        targets, head = columns // self._path.num_heads, columns % self._path.num_heads
        if a.dim() == 1:
            chosen, place = torch.unique(targets, return_inverse=True)
        else:
            sets, of_column = torch.unique(a, dim=1, return_inverse=True)
            count = len(self._targets)
            pairs, place = torch.unique(of_column * count + targets, return_inverse=True)
            a, chosen = sets[:, pairs // count], pairs % count
        a, chosen, head, place = self._placed(a, chosen, head, place)
        return _TargetsAt(a, self._targets[chosen], base[:, chosen], fixed[None, :, chosen], (head, place))


@dataclass(frozen=True)
class _TargetsAt:
    """Some targets at some nodes, all heads of each, and which of these are columns (None: all)."""

    a: Tensor
    rows: Tensor
    base: Tensor  # [heads, targets, head_dim]
    fixed: Tensor  # [1, heads, targets, head_dim]
    chosen: tuple[Tensor, Tensor] | None  # the head and the place of each column

    def by_column(self, x: Tensor) -> Tensor:
        """[nodes, heads, targets, ...] → [nodes, columns, ...]."""
        if self.chosen is None:
            return x.transpose(1, 2).flatten(1, 2)
        head, place = self.chosen
        return x[:, head, place]


class MlpIntegrand(ChunkedIntegrand):
    """u→z', token by token: L_j = ‖F(u⁰_j + a (u_j − u⁰_j)) − F(u⁰_j)‖₂; a source is a dimension of u.

    `function` maps rows of u [rows, dims] to z' [rows, hidden] for the target tokens given beside them; `branch` is the
    part of it that bypasses nothing, where the stream beside it may hide in L what happens there.
    """

    over_tokens = False

    def __init__(
        self,
        block: Block,
        function: Callable[[Tensor, Tensor], Tensor],
        u: Tensor,
        baseline: Tensor,
        targets: Tensor,
        start: Start,
        budget: Budget,
        branch: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(budget)
        self._block, self._function, self._targets, self._branch = block, function, targets, branch
        self._from, self._step = baseline, u - baseline  # [targets, dims]
        self.num_columns, self.num_sources = u.shape
        self.start = start
        self.dtype, self.device = u.dtype, u.device
        self.kinked, self.routed = block.kinked, block.routed
        with torch.no_grad():
            self._base = function(baseline, targets)

    @property
    def origin(self) -> Tensor:
        """F(u⁰_j)."""
        return self._base

    def bytes_per_pair(self) -> int:
        """The activations that the backward pass of post keeps."""
        return post_bytes(self._block)

    def _lost(self, total: Array) -> Array:
        """Of F, and of u."""
        of = sizes(torch.stack([self._from, self._step]))
        return super()._lost(total) + share_lost(of[1, 0], of[0, 1].numpy())

    def _here(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u(a) as rows, the target token of each row, and F(u⁰) of each row."""
        (a,) = self._placed(a)
        start, step, targets, base = self._rows(columns, self._from, self._step, self._targets, self._base)
        u = start + own_nodes(a, step.expand(len(a), -1, -1)) * step
        return u.flatten(0, 1), targets.repeat(len(a)), base.repeat(len(a), 1)

    def _lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        u, rows, base = self._here(a, columns)
        with torch.no_grad():
            return (self._function(u, rows) - base).norm(dim=-1).unflatten(0, (len(a), len(columns)))

    def _rates(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, None]:
        u, rows, base = self._here(a, columns)
        lengths, (gradient,) = lengths_and_gradients(lambda x: self._function(x, rows), [u], base)
        shape, (step,) = (len(a), len(columns)), self._rows(columns, self._step)
        return lengths.unflatten(0, shape), gradient.unflatten(0, shape) * step, None

    def parts(self, columns: Tensor) -> Parts | None:
        """How the branch moves, where there is one."""
        return None if self._branch is None else Parts(lengths=partial(self._measured, self._branch_moved))

    def _branch_moved(self, a: Tensor, columns: Tensor) -> Tensor:
        assert self._branch is not None
        u, rows, _ = self._here(_from_start(a), columns)
        with torch.no_grad():
            moved = self._branch(u, rows).unflatten(0, (len(a) + 1, len(columns)))
        return (moved[1:] - moved[:1]).norm(dim=-1)


def switch_widths(block: Block) -> Tensor:
    """The a within which attention may turn from one source to another, on a path that moves its logits: 1 over their
    range, [heads, targets]."""
    return 1 / logit_range(block.attention)[0].clamp_min(1.0)


def lengths_and_gradients(
    function: Callable[..., Tensor], inputs: list[Tensor], base: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """L = ‖function(inputs) − base‖₂ [rows] and its gradient by each input, all rows in one backward pass."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        lengths = (function(*leaves) - base).norm(dim=-1)
        gradients = torch.autograd.grad(lengths.sum(), leaves)
    return lengths.detach(), gradients


def mixing_bytes(block: Block, heads: int) -> int:
    """Bytes of about six rows of scores per head."""
    return 6 * heads * block.num_tokens * block.z.element_size()


def post_bytes(block: WholeBlock) -> int:
    """Bytes of about three times the outputs of every linear map, and eight hidden states, for one token."""
    widths = sum(linear_width(module) or 0 for module in block.call.module.modules())
    return (3 * widths + 8 * block.z.shape[-1]) * block.z.element_size()


def _length_and_direction(moved: Tensor) -> tuple[Tensor, Tensor]:
    """‖x‖ and x/‖x‖ of vectors x."""
    lengths = moved.norm(dim=-1)
    return lengths, moved / lengths.unsqueeze(-1).clamp_min(torch.finfo(moved.dtype).tiny)


def _from_start(a: Tensor) -> Tensor:
    """Nodes with a = 0 before them."""
    return torch.cat([torch.zeros_like(a[:1]), a])


def _as_rows(heads_out: Tensor) -> Tensor:
    """[nodes, heads, targets, head_dim] → [nodes·targets, heads, head_dim]."""
    return heads_out.transpose(1, 2).flatten(0, 1).contiguous()
