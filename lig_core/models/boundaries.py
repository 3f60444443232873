"""The places of z, u and z' in a model, from its config alone. Imports no torch."""

from __future__ import annotations

from typing import Any

from lig_core.contract import Norms
from lig_core.models.catalog import ModelCard
from lig_core.models.checkpoint import dequantised, require_loadable
from lig_core.models.families import FAMILIES, Attention

BLOCK_INPUT = "the block's input"
BLOCK_OUTPUT = "the block's output, input of the next block"
STREAM = "the stream after attention"
U_NODES: dict[Norms, str | None] = {
    "post": f"{STREAM}: output of the norm that follows z + attention(z)",
    "pre": f"{STREAM}: z + attention(norm(z))",
    "sandwich": f"{STREAM}: z + norm(attention(norm(z)))",
    "reordered": f"{STREAM}: z + norm(attention(z))",
    "parallel": None,
    "none": None,
}
ATTENTIONS: dict[Attention, str] = {
    "pluggable": "through the attention interface",
    "tapped": "found at its softmax",
    "pairwise": "found at its softmax, with logits that are no product of queries and keys",
}
HEADS_NODE = "the concatenated head outputs, before the output projection"
HEADS_NODES = {
    None: HEADS_NODE,
    "norm": "the concatenated head outputs, before the norm that this attention has there and the output projection",
    "gate": "the concatenated head outputs, before the gate that the token's own z sets and the output projection",
}
"""By the step within attention, if there is one (`lig_core.blocks.layout.Step`)."""
REPLAYED = "the model's own blocks, replayed and verified"
HOOK_NAMES = ("att_input", "att_core", "att_output", "mlp_input", "mlp_core", "mlp_output")


def from_config(card: ModelCard) -> dict[str, Any]:
    """The document that the config allows. A family that is not in the table needs the weights to be sure.

    Raises UnsupportedModel for what loading would refuse, as far as the config and the files' names show it.
    """
    require_loadable(card)
    family = FAMILIES.get(card.model_type)
    if family is None:
        return document(
            card,
            layout="unknown",
            architecture="unknown",
            u=None,
            hooks={},
            detection=f"config only: '{card.model_type}' is not in the table of families",
            notes=["load the weights to have the blocks introspected"],
        )
    detection = f"config: model_type {card.model_type}"
    if family.attention == "none":
        return whole_block(card, "its blocks have no attention", detection=detection)
    norms = family.wired(card.config)
    notes = [f"engine: factored; attention: {ATTENTIONS[family.attention]}"]
    if norms == "parallel":
        notes.append("attention and MLP run side by side: use u_node='heads'")
    if card.config.get("is_encoder_decoder"):
        notes.append("an encoder-decoder model: its encoder is explained")
    if dequantised(card):  # any other quantisation was refused
        notes.append(f"quantised ({dequantised(card)}): its numbers are written out in full when it is loaded")
    return document(
        card,
        layout=layout_name(norms, family.architecture),
        architecture=family.architecture,
        u=U_NODES[norms],
        hooks=_hooks(norms),
        detection=detection,
        notes=notes,
    )


def layout_name(norms: Norms | None, architecture: str) -> str:
    """A name such as post_ln_encoder; unnamed_encoder where the norms stand in none of the known places."""
    return f"unnamed_{architecture}" if norms is None else f"{norms}_ln_{architecture}"


def document(
    card: ModelCard,
    *,
    layout: str,
    architecture: str,
    u: str | None,
    hooks: dict[str, str],
    detection: str,
    notes: list[str],
    heads: str = HEADS_NODE,
) -> dict[str, Any]:
    """The answer's shape: the keys of the authors' library, and `u_nodes`; `ig_ready`: whether it can be explained."""
    known = layout != "unknown"
    return {
        "layout": layout,
        "architecture": architecture,
        "model_type": card.model_type,
        "num_layers": card.num_layers,
        "supported_granularity": ["att", "composed", "layer", "mlp"] if known else [],
        "ig_ready": known,
        "nodes": {"z": BLOCK_INPUT, "u": u or heads, "z_next": BLOCK_OUTPUT},
        "u_nodes": {"residual": u, "heads": heads},
        "hook_points": {name: hooks.get(name) for name in HOOK_NAMES},
        "detection": detection,
        "notes": notes,
    }


def whole_block(card: ModelCard, reason: str, *, detection: str = REPLAYED) -> dict[str, Any]:
    """A model whose blocks do not split: z→z' alone."""
    described = document(
        card,
        layout="block_only",
        architecture=FAMILIES[card.model_type].architecture if card.model_type in FAMILIES else "unknown",
        u=None,
        hooks={"att_input": BLOCK_INPUT, "mlp_output": BLOCK_OUTPUT},
        detection=detection,
        notes=[f"engine: dense; {reason}"],
    )
    nodes = {"z": BLOCK_INPUT, "u": None, "z_next": BLOCK_OUTPUT}
    return {**described, "supported_granularity": ["layer"], "nodes": nodes, "u_nodes": {}}


def _hooks(norms: Norms) -> dict[str, str]:
    return {
        "att_input": BLOCK_INPUT,
        "att_core": "softmax attention, per head",
        "att_output": HEADS_NODE,
        "mlp_input": U_NODES[norms] or BLOCK_INPUT,
        "mlp_core": "the rest of the block, token by token",
        "mlp_output": BLOCK_OUTPUT,
    }
