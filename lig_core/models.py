"""Loading a model, and turning a text into blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import transformers
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from lig_core import boundaries
from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.blocks.block import Block, WholeBlock, Wiring, relative_error
from lig_core.blocks.capture import BlockCall, Tiling, capture_blocks, text_config
from lig_core.blocks.introspect import find_tiling, find_wiring
from lig_core.blocks.laws import PathLaws, find_laws
from lig_core.catalog import ModelCard
from lig_core.engines.chunking import Budget
from lig_core.errors import InvalidRequest, ModelNotFound, TextTooLong, UnsupportedModel
from lig_core.families import FAMILIES, Norms
from lig_core.maps import Integrator, SplitBlockIntegrator, WholeBlockIntegrator
from lig_core.precision import working_precision
from lig_core.quadrature import Adaptive, Quadrature

DTYPES = {"float32": torch.float32, "float64": torch.float64}
HUB_SECONDS = 10.0
SPOT_CHECK_AT = 0.61
SPOT_CHECK_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}
PROBE_TEXT = "In 1879 the quick brown fox jumped over 17 lazy dogs, twice, and nobody minded at all."
"""What a model's layers are inspected on: an ordinary sentence, long enough to show positions."""


@dataclass(frozen=True)
class LayerFacts:
    """What was found out about a layer once, on a probe sentence, and holds for every text.

    wiring is None for a block that does not split into parts, and `note` says why; laws is None where queries,
    keys and values follow no simple law, so that the general paths are used.
    """

    tiling: Tiling
    wiring: Wiring | None
    laws: PathLaws | None
    note: str


@dataclass(frozen=True)
class Encoded:
    """Texts as the model sees them: token strings of each, and the tensors that a forward pass takes."""

    tokens: list[tuple[str, ...]]
    inputs: Mapping[str, Tensor]


@dataclass(frozen=True)
class LoadedModel:
    """A frozen model with its tokenizer, and the facts found about each layer, which do not depend on the text."""

    card: ModelCard
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    facts: tuple[LayerFacts, ...]

    @classmethod
    def of(cls, card: ModelCard, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> Self:
        """A model already built with `attn_implementation="lig"`, inspected on a probe sentence."""
        weight = next(model.parameters())
        model = model.eval().requires_grad_(False)
        inputs = {name: x.to(weight.device) for name, x in tokenizer(PROBE_TEXT, return_tensors="pt").items()}
        with working_precision(weight.dtype):
            (calls,) = capture_blocks(model, inputs)
            facts = tuple(inspect_layer(call) for call in calls)
        return cls(card, model, tokenizer, weight.device, weight.dtype, facts)

    @property
    def num_layers(self) -> int:
        """Number of transformer blocks."""
        return int(self._text_config().num_hidden_layers)

    @property
    def num_heads(self) -> int:
        """Number of query heads."""
        return int(self._text_config().num_attention_heads)

    @property
    def max_tokens(self) -> int | None:
        """Longest sequence the model has positions for, special tokens included; None when it has no such limit."""
        limits = (
            getattr(self._text_config(), "max_position_embeddings", None),
            self.tokenizer.model_max_length,
        )
        found = [limit for limit in limits if isinstance(limit, int) and 0 < limit < 10**9]
        return min(found, default=None)

    def _text_config(self) -> Any:
        return text_config(self.model)

    @property
    def revision(self) -> str | None:
        """The commit that the hub's files came from; None for a folder."""
        return getattr(self.model.config, "_commit_hash", None)

    def boundaries(self) -> dict[str, Any]:
        """Where z, u and z' sit in this model, as its first block showed when it was replayed."""
        wiring = self.facts[0].wiring
        if wiring is None:
            return boundaries.whole_block(self.card, self.facts[0].note)
        paths = {module: path for path, module in self.model.named_modules()}
        family = FAMILIES.get(self.card.model_type)
        entry = wiring.residual
        norms: Norms = "parallel" if entry is None else "post" if entry.holds == "output" else "pre"
        if norms == "pre" and family is not None and family.norms == "sandwich":
            norms = "sandwich"
        causal = bool(getattr(wiring.attention, "is_causal", False))
        architecture = family.architecture if family is not None else "decoder" if causal else "encoder"
        hooks = {"att_core": paths[wiring.attention], "mlp_output": paths[wiring.block]}
        if entry is not None:
            hooks["mlp_input"] = paths[entry.module] + (" (its output)" if norms == "post" else " (its output + z)")
        return boundaries.document(
            self.card,
            layout=boundaries.layout_name(norms, architecture),
            architecture=architecture,
            u=boundaries.U_NODES[norms],
            hooks=hooks,
            detection="the model's own blocks, replayed and verified",
            notes=[f"engine: factored; {self.facts[0].note}"],
        )

    def computing(self) -> AbstractContextManager[Any]:
        """The context in which everything of this model is computed, so that its dtype is what it says."""
        return working_precision(self.dtype)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Token strings and input tensors of some texts, right-padded; raises TextTooLong rather than cut one."""
        found = [self.tokenizer(text, truncation=False, verbose=False) for text in texts]
        for text in found:
            count = len(text["input_ids"])
            if self.max_tokens is not None and count > self.max_tokens:
                raise TextTooLong(
                    f"the text has {count} tokens, {self.card.name} takes at most {self.max_tokens} "
                    "(special tokens included); shorten or split it"
                )
        padding = {"input_ids": self.tokenizer.pad_token_id or 0}
        inputs = {
            name: pad_sequence([torch.tensor(text[name]) for text in found], True, padding.get(name, 0)).to(self.device)
            for name in found[0]
        }
        tokens = [tuple(self.tokenizer.convert_ids_to_tokens(text["input_ids"])) for text in found]
        return Encoded(tokens, inputs)

    def capture(self, inputs: Mapping[str, Tensor]) -> list[list[BlockCall]]:
        """One forward pass; for each text of the batch, the call of each layer."""
        return capture_blocks(self.model, inputs)

    def integrator(
        self, layer: int, call: BlockCall, targets: Tensor, quadrature: Quadrature, budget: Budget | None = None
    ) -> Integrator:
        """What integrates the maps of a captured call; its block is verified against the model's own output first."""
        facts = self.facts[layer]
        if facts.wiring is None:
            return WholeBlockIntegrator(WholeBlock(call, facts.tiling), facts.note, targets, quadrature, budget)
        return SplitBlockIntegrator(Block.open(call, facts.wiring), facts.laws, targets, quadrature, budget)


def inspect_layer(call: BlockCall) -> LayerFacts:
    """Find out how a layer is wired and check its rates against the dense engine's.

    A block that does not split, or whose rates do not agree, is left whole. Raises UnsupportedModel for one
    that cannot even be replayed.
    """
    tiling = find_tiling(call)
    try:
        wiring = find_wiring(call, tiling)
    except UnsupportedModel as error:
        return LayerFacts(tiling, None, None, error.detail)
    block = Block.open(call, wiring)
    laws = find_laws(block)
    if not rates_agree(block, laws):
        return LayerFacts(tiling, None, None, "its rates by parts differ from plain automatic differentiation")
    if laws is None:
        return LayerFacts(
            tiling, wiring, None, "queries, keys and values follow no norm-and-linear law: replayed paths"
        )
    key_norm = "" if laws.key_norm is None else ", key norm"
    return LayerFacts(
        tiling, wiring, laws, f"closed-form paths (norm: {laws.norm.kind}, positions: {laws.positions.kind}{key_norm})"
    )


def rates_agree(block: Block, laws: PathLaws | None) -> bool:
    """Whether the factored and the dense engine give the same rates at one node, for two targets and both baselines."""
    targets = torch.tensor(sorted({block.num_tokens // 2, block.num_tokens - 1}), device=block.z.device)
    node, one = torch.tensor([SPOT_CHECK_AT], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    columns = torch.arange(len(targets))
    both = (
        SplitBlockIntegrator(block, laws, targets, Adaptive()),
        WholeBlockIntegrator(block, "", targets, Adaptive()),
    )
    for zero in (True, False):
        fast, plain = (each.layer_integrand(zero=zero)[0].accumulate(node, columns, one).weighted for each in both)
        if relative_error(fast, plain) > SPOT_CHECK_TOLERANCE[block.z.dtype]:
            return False
    return True


def load_model(card: ModelCard, *, device: str | None = None, dtype: str = "float32") -> LoadedModel:
    """Load a model's weights (safetensors only, no remote code) for `cpu` or `cuda`; None: a GPU where there is one.

    Raises ModelNotFound when neither a folder, nor the local cache, nor the hub has it.
    """
    register()
    transformers.utils.logging.disable_progress_bar()
    place, kind = _device(device), DTYPES[dtype]
    where = {"revision": card.revision, "trust_remote_code": False, "local_files_only": not _on_hub(card)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(card.source, **where)
        model = AutoModel.from_pretrained(
            card.source, attn_implementation=IMPLEMENTATION, dtype=kind, use_safetensors=True, **where
        )
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            f"model '{card.name}' could not be loaded: {_first_line(error)}; check the name (and, for a Hugging Face "
            "id, the network), or use 'minilm', which needs none"
        ) from error
    return LoadedModel.of(card, model.to(device=place, dtype=kind), tokenizer)


def _device(name: str | None) -> torch.device:
    available = torch.cuda.is_available()
    if name is None:
        return torch.device("cuda" if available else "cpu")
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not available):
        raise InvalidRequest(f"device '{name}' is not available here; use cpu{' or cuda' if available else ''}")
    return torch.device(name)


def _on_hub(card: ModelCard) -> bool:
    """Whether to ask the hub for files: one quick question, for the loaders retry an unreachable hub for minutes.

    Raises ModelNotFound when the hub answers that it has no such model.
    """
    if Path(card.source).is_dir() or constants.HF_HUB_OFFLINE:
        return False
    try:
        HfApi().model_info(card.source, revision=card.revision, timeout=HUB_SECONDS)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise ModelNotFound(
            f"the Hugging Face hub has no public model '{card.name}'; check its name and revision, or use 'minilm'"
        ) from None
    except Exception:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")[:300]
