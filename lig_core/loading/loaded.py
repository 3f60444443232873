"""Loading a model, and turning a text into blocks."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedTokenizerBase

from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.blocks.block import Block, WholeBlock
from lig_core.blocks.capture import BlockCall, capture_blocks, text_config
from lig_core.blocks.packing import NotPackedError, PackedCall, capture_packed
from lig_core.blocks.precision import working_precision
from lig_core.contract import ExplainRequest, MapName
from lig_core.engines.chunking import Budget, out_of_memory
from lig_core.errors import InvalidRequest, UnsupportedModel
from lig_core.loading.encoding import Encoded, Encoder, load_tokenizer
from lig_core.loading.inspection import LayerFacts, inspect_layers, inspecting
from lig_core.loading.reading import make_config, read_config, reading
from lig_core.loading.weights import outline, require_finite, require_proportion, require_weights
from lig_core.maps.integrators import Integrator, SplitBlockIntegrator, WholeBlockIntegrator
from lig_core.maps.packed import packed_integrators
from lig_core.models import boundaries
from lig_core.models.catalog import ModelCard, files_here
from lig_core.models.checkpoint import dequantised, require_loadable
from lig_core.models.identity import model_identity
from lig_core.models.tokenizer_files import limit_of
from lig_core.models.weight_files import checkpoint_dtype, require_whole_files, weight_files
from lig_core.quadrature import Quadrature

DTYPES = {"float32": torch.float32, "float64": torch.float64}
PROBE_TEXT = "In 1879 the quick brown fox jumped over 17 lazy dogs, twice, and nobody minded at all."
"""The text that a model's layers are inspected on: an ordinary sentence, long enough to show positions."""


@dataclass(frozen=True)
class LoadedModel:
    """A frozen model with its tokenizer, and the facts found about each layer, which do not depend on the text.

    `revision` is the commit that the hub's files came from, or the version of a bundled model's package; `files` is
    what identifies a folder's content (`lig_core.models.identity`). `dequantised` is the method by which its files are
    quantised, whose numbers were written out; None: they are not. `checkpoint_dtype` is what the files store.
    """

    card: ModelCard
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    facts: tuple[LayerFacts, ...]
    revision: str | None = None
    files: str | None = None
    dequantised: str | None = None
    checkpoint_dtype: str | None = None

    @classmethod
    def of(cls, card: ModelCard, model: Any, tokenizer: PreTrainedTokenizerBase) -> Self:
        """A model built with `attn_implementation="lig"` where its class allows it, inspected on a probe sentence."""
        weight = next(model.parameters())
        model = model.eval().requires_grad_(False)
        with inspecting(model), working_precision(weight.dtype):
            probe = tokenizer(PROBE_TEXT, return_tensors="pt", truncation=True, max_length=max_tokens(model, tokenizer))
            facts = inspect_layers(model, {name: x.to(weight.device) for name, x in probe.items()})
        return cls(card, model, tokenizer, weight.device, weight.dtype, facts)

    @property
    def num_layers(self) -> int:
        """Number of transformer blocks."""
        return int(self._text_config().num_hidden_layers)

    @property
    def num_heads(self) -> int | None:
        """Number of query heads; None where the config knows of none."""
        return getattr(self._text_config(), "num_attention_heads", None)

    @cached_property
    def max_tokens(self) -> int | None:
        """Longest sequence the model has positions for, special tokens included; None when it has no such limit."""
        return max_tokens(self.model, self.tokenizer)

    def _text_config(self) -> Any:
        return text_config(self.model)

    def boundaries(self) -> dict[str, Any]:
        """The places of z, u and z' in this model, as its blocks showed when they were replayed."""
        split = [(facts.wiring, facts.layout) for facts in self.facts if facts.wiring and facts.layout]
        if not split:
            return boundaries.whole_block(self.card, self.facts[0].note)
        # The first block of some models lacks the norm that the embeddings have had (ModernBERT).
        wiring, layout = next((pair for pair in split if pair[1].norms is not None), split[0])
        paths = {module: path for path, module in self.model.named_modules()}
        architecture = "decoder" if layout.causal else "encoder"
        block, attention = paths[wiring.block], paths[wiring.attention]
        hooks = {
            "att_input": f"{block} (its input)",
            "att_core": attention,
            "att_output": f"{attention} (its heads' outputs, before the output projection)",
            "mlp_core": f"{block} (the rest of it, token by token)",
            "mlp_output": block,
        }
        stream = None
        if wiring.residual is not None:
            hooks["mlp_input"] = f"{paths[wiring.residual.module]} (its {wiring.residual.holds})"
            stream = boundaries.STREAM
        return boundaries.document(
            self.card,
            layout=boundaries.layout_name(layout.norms, architecture),
            architecture=architecture,
            u=stream if layout.norms is None else boundaries.U_NODES[layout.norms],
            hooks=hooks,
            detection=boundaries.REPLAYED,
            notes=self._engines(),
            heads=boundaries.HEADS_NODES[layout.step],
        )

    def _engines(self) -> list[str]:
        """The engine that serves each layer, and why."""
        notes: dict[str, list[int]] = {}
        for layer, facts in enumerate(self.facts):
            engine = "dense" if facts.wiring is None else "factored"
            notes.setdefault(f"engine: {engine}; {facts.note}", []).append(layer)
        if len(notes) == 1:
            return list(notes)
        return [f"{note} (layers {', '.join(map(str, layers))})" for note, layers in notes.items()]

    def maps(self, request: ExplainRequest, layer: int) -> tuple[MapName, ...]:
        """The maps of a layer that a request is answered with; those it names and the layer lacks are refused later."""
        if not request.takes_what_there_is:
            return request.maps
        return self.facts[layer].maps(request.u_node)

    def computing(self) -> AbstractContextManager[Any]:
        """The context in which everything of this model is computed, so that its dtype is what it says."""
        return working_precision(self.dtype)

    def encode(self, texts: Sequence[str | Sequence[str]], **reading: bool) -> Encoded:
        """Tokens and input tensors of some texts (or of their tokens): see `Encoder.encode`."""
        return self._encoder.encode(texts, self.device, **reading)

    def joined(self, encoded: Sequence[Encoded]) -> Encoded:
        """Some texts, each encoded by itself, as `encode` gives them together."""
        return self._encoder.joined(encoded)

    @property
    def word_marker(self) -> str | None:
        """The mark by which its tokens tell where words begin; None where they do not."""
        return self._encoder.word_marker

    @cached_property
    def _encoder(self) -> Encoder:
        embedding = _input_embeddings(self.model)
        rows = None if embedding is None else embedding.num_embeddings
        return Encoder(self.tokenizer, self.card.name, limit=self.max_tokens, rows=rows)

    def capture(self, inputs: Mapping[str, Tensor]) -> list[list[BlockCall]]:
        """One forward pass; for each text of the batch, the call of each layer."""
        return capture_blocks(self.model, inputs)

    def capture_packed(self, encoded: Encoded) -> list[PackedCall]:
        """One forward pass of several texts; the call of each layer, with all texts in one sequence.

        Raises NotPackedError where the model's blocks cannot be called so.
        """
        limit, lengths = self.max_tokens, [len(text.tokens) for text in encoded.texts]
        try:
            return capture_packed(self.model, encoded.inputs, lengths, self.tokenizer.pad_token_id or 0, limit)
        except (IndexError, RuntimeError, ValueError) as error:
            if out_of_memory(error):
                raise
            raise NotPackedError(str(error)) from error

    def packed_integrators(
        self,
        layer: int,
        call: PackedCall,
        targets: Sequence[Tensor],
        quadrature: Quadrature,
        budget: Budget | None = None,
    ) -> list[Integrator]:
        """An integrator for each text of a packed call. Raises NotPackedError where the block is another one then."""
        facts = self.facts[layer]
        if facts.wiring is None or facts.wiring.tap is not None:
            raise NotPackedError("the block's attention cannot be given a mask")
        try:
            block = Block.open(call, facts.wiring)
        except UnsupportedModel as error:
            raise NotPackedError(str(error)) from error
        if block.crowded or block.attention.pairwise:
            raise NotPackedError("texts in one sequence would meet in this block")
        return packed_integrators(block, call, facts.laws, targets, quadrature, budget)

    def integrator(
        self, layer: int, call: BlockCall, targets: Tensor, quadrature: Quadrature, budget: Budget | None = None
    ) -> Integrator:
        """The integrator of the maps of a captured call; its block is verified against the model's own output first."""
        facts = self.facts[layer]
        targets = targets.to(call.z.device)
        if facts.wiring is None:
            block = WholeBlock.verified(call, facts.tiling)
            return WholeBlockIntegrator(block, facts.note, targets, quadrature, budget, disputed=facts.disputed)
        return SplitBlockIntegrator(Block.open(call, facts.wiring), facts.laws, targets, quadrature, budget)


def max_tokens(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Positions that a model and its tokenizer have for tokens; None for no limit.

    An embedding of positions that keeps a padding index (as RoBERTa's does) spends all up to it on padding.
    """
    positions = getattr(text_config(model), "max_position_embeddings", None)
    if isinstance(positions, int):
        words = _input_embeddings(model)  # of as many words as positions, maybe
        tables = (m for m in model.modules() if isinstance(m, nn.Embedding) and m.num_embeddings == positions)
        positions -= max((m.padding_idx + 1 for m in tables if m is not words and m.padding_idx is not None), default=0)
    return min((n for n in map(limit_of, (positions, tokenizer.model_max_length)) if n is not None), default=None)


def _input_embeddings(model: Any) -> nn.Embedding | None:
    """The embedding of a model's tokens; None where it has none that is a table."""
    try:
        embeddings = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return embeddings if isinstance(embeddings, nn.Embedding) else None


def load_model(card: ModelCard, *, device: str | torch.device | None = None, dtype: str = "float32") -> LoadedModel:
    """Load a model's weights (safetensors only, no remote code) for `cpu` or `cuda`; None: a GPU where there is one.

    `auto` spreads a model that no single device holds over several, with accelerate. Checkpoints of any precision
    are computed in `dtype`. Of an encoder-decoder model the encoder is taken. Raises ModelNotFound when neither a
    folder, nor the local cache, nor the hub has it, OutOfMemory when the device cannot hold it, and UnsupportedModel
    when the checkpoint is not a whole one, or not that of the model which would be loaded.
    """
    register()
    transformers.utils.logging.disable_progress_bar()
    torch.set_float32_matmul_precision("highest")  # TF32 costs three digits, which no map is allowed to lose
    place, kind = device_of(device), DTYPES[dtype]
    # The grouped kernels of routed experts have no float64.
    options: dict[str, Any] = {"experts_implementation": "eager"} if kind == torch.float64 else {}
    where = {"trust_remote_code": False, "local_files_only": True}
    with reading(card, "files", "download them again"):
        folder = files_here(card)
    here = replace(card, source=str(folder))
    here = replace(here, config=read_config(here, where))
    require_loadable(here)
    with reading(here, "config.json", "correct it, or save it again: model.save_pretrained()"):
        config = make_config(here.config)
    with reading(here, "tokenizer", "save it there, too: tokenizer.save_pretrained()"):
        tokenizer = load_tokenizer(here, config=config, **where)
    # Rotary frequencies are made here, too.
    with reading(here, "weights", "save or download them again"), working_precision(kind):
        require_whole_files(here)
        described = outline(config)
        require_proportion(here, described)
        model, report = _read_weights(
            str(folder), config=config, dtype=kind, device_map=None if place else "auto", **options, **where
        )
    require_weights(here, described, model, report)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    require_finite(card, model)
    if place is not None:
        with reading(here, "weights", "use a larger device"):
            model = model.to(device=place, dtype=kind)
    loaded = LoadedModel.of(replace(card, config=here.config), model, tokenizer)
    stored = checkpoint_dtype(weight_files(here))
    loaded = replace(loaded, dequantised=dequantised(here), checkpoint_dtype=stored)
    if card.folder is None:
        return replace(loaded, revision=folder.name)  # the cache has a folder for each commit
    identity = model_identity(card)
    return replace(loaded, revision=identity) if card.is_bundled else replace(loaded, files=identity)


def _read_weights(source: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The model and transformers' report on its weights; attention is plugged in where the class allows it."""
    options |= {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        return AutoModel.from_pretrained(source, attn_implementation=IMPLEMENTATION, **options)
    except KeyError as error:  # a class with a closed list of attentions (Falcon, GPT-J)
        if error.args != (IMPLEMENTATION,):
            raise
        return AutoModel.from_pretrained(source, attn_implementation="eager", **options)


def device_of(given: str | torch.device | None) -> torch.device | None:
    """The device to compute on, by its name or torch's own; None for several. Raises InvalidRequest."""
    name = given if given is None else str(given)
    if name == "auto":
        if importlib.util.find_spec("accelerate") is None:
            raise InvalidRequest("device 'auto' needs accelerate; run: pip install 'lig-service[large]'")
        return None
    available = torch.cuda.is_available()
    if name is None:
        return torch.device("cuda" if available else "cpu")
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not available):
        raise InvalidRequest(f"device '{name}' is not available here; use cpu{' or cuda' if available else ''}")
    return torch.device(name)
