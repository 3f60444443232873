"""The models, texts and blocks that are measured."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from lig_core.blocks.block import Block
from lig_core.blocks.capture import BlockCall
from lig_core.loading.loaded import LoadedModel, load_model
from lig_core.models.catalog import find_model

TEXT = (
    "Although the committee had rejected the proposal twice, the engineers quietly kept building the prototype in "
    "the old hangar near the river, because nobody else believed that the machine, once finished, would fly. "
)
LAYER = 3


@dataclass(frozen=True)
class Case:
    """One block of one model at one number of tokens."""

    model: str
    tokens: int
    input_ids: list[int]
    folder: Path
    loaded: LoadedModel
    block: Block

    @property
    def name(self) -> str:
        return f"{self.model}, {self.tokens} tokens"


def minilm() -> LoadedModel:
    return load_model(find_model("minilm"), device="cpu")


def bert_base(folder: Path) -> LoadedModel:
    """BERT-base's shape with seeded random weights: its time and memory, not its attributions, are of interest."""
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = BertConfig(num_hidden_layers=LAYER + 1)
        model = BertModel(config)
        with torch.no_grad():  # freshly initialised biases and norms are trivial
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        bundled = find_model("minilm").source
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
            shutil.copy(Path(bundled) / name, folder / name)
    return load_model(find_model(str(folder)), device="cpu")


def split_block(loaded: LoadedModel, call: BlockCall) -> Block:
    wiring = loaded.facts[LAYER].wiring
    assert wiring is not None
    return Block.open(call, wiring)


def case(name: str, loaded: LoadedModel, tokens: int) -> Case:
    """A sentence repeated and cut to exactly so many tokens."""
    folder = Path(loaded.card.source)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    body = tokenizer(TEXT * 20, add_special_tokens=False)["input_ids"][: tokens - 2]
    input_ids = [tokenizer.cls_token_id, *body, tokenizer.sep_token_id]
    inputs = {"input_ids": torch.tensor([input_ids]), "attention_mask": torch.ones(1, tokens, dtype=torch.long)}
    (calls,) = loaded.capture(inputs)
    return Case(name, tokens, input_ids, folder, loaded, split_block(loaded, calls[LAYER]))
