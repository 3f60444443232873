"""The physical floor of a map: what any exact method must compute at each node, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lig_core.blocks.attention import attend
from lig_core.blocks.block import Block
from lig_core.engines.factored import lengths_and_gradients

NODES_AT_ONCE = 4


def floor(block: Block, nodes: Tensor) -> None:
    """Projections, attention forward, and forward and VJP of the token-wise part, at every node."""
    base = 0.5 * block.out  # any: only the work counts
    for a in nodes.split(NODES_AT_ONCE):
        z = a.to(block.z)[:, None, None] * block.z
        query, key, value = block.project(z)
        with torch.no_grad():
            heads = attend(replace(block.attention, query=query, key=key, value=value)).flatten(0, 1)
        lengths_and_gradients(block.finish, [heads, z.flatten(0, 1)], base.repeat(len(a), 1))


def floor_of_attention(block: Block, nodes: Tensor) -> None:
    """Of z→u: projections, and attention forward and backward, at every node."""
    for a in nodes.split(NODES_AT_ONCE):
        query, key, value = block.project(a.to(block.z)[:, None, None] * block.z)
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in (query, key, value)]
            call = replace(block.attention, query=inputs[0], key=inputs[1], value=inputs[2])
            heads = attend(call)
            torch.autograd.grad((heads - heads.detach() + 1).norm(dim=-1).sum(), inputs)
