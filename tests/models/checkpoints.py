"""Model folders as people have them: how each is made, and what is right to say of it. For Python, command and HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel

from tests.models.tiny_models import FAMILIES, tiny_tokenizer

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
INSIDE = "encoder.layer.1.output.dense.weight"
"""A weight in the last block of the tiny BERT."""


def saved(folder: Path, name: str, dtype: torch.dtype = torch.float32) -> Path:
    """A family's tiny model and its tokenizer, as `save_pretrained` leaves them; the same weights at every call."""
    config = FAMILIES[name].config
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(deepcopy(config)).to(dtype)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def configured(folder: Path, **more: Any) -> None:
    """Other values in its config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))


def without(folder: Path, *keys: str) -> None:
    """Its config.json without these keys."""
    file = folder / "config.json"
    file.write_text(json.dumps({key: x for key, x in json.loads(file.read_text()).items() if key not in keys}))


def weighted(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Other weights in its file."""
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})


def sharded(
    folder: Path, *, keep: bool = True, index: Callable[[dict[str, str]], object] = lambda places: places
) -> None:
    """Its weights in two files, the second of which may be lost, and what their index says."""
    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in halves.items():
        save_file({name: weights[name] for name in held}, folder / file, {"format": "pt"})
    places = {name: file for file, held in halves.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index(places)}))
    (folder / WEIGHTS).unlink()
    if not keep:
        (folder / "model-00002-of-00002.safetensors").unlink()


def renamed(folder: Path, name: str) -> None:
    (folder / WEIGHTS).rename(folder / name)


def beside(folder: Path, name: str, content: bytes = b"{}") -> None:
    (folder / name).write_bytes(content)


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], None]:
    return lambda folder: weighted(folder, lambda held: {**held, name: change(held[name])})


def added(**shapes: tuple[int, ...]) -> Callable[[Path], None]:
    generator = torch.Generator().manual_seed(0)
    more = {name.replace("__", "."): torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    return lambda folder: weighted(folder, lambda held: {**held, **more})


def one_is(value: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x.index_put((torch.tensor(0), torch.tensor(1)), torch.tensor(value))


def less(*names: str) -> Callable[[Path], None]:
    return lambda folder: weighted(folder, lambda held: {name: x for name, x in held.items() if name not in names})


def cut(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size]) and None


def quantised(**config: Any) -> Callable[[Path], None]:
    return lambda folder: configured(folder, quantization_config=config)


@dataclass(frozen=True)
class Refused:
    """How a tiny BERT's folder is changed, and what its refusal says.

    shown    by its config and its files' names alone
    counted  when tokens are counted, so that the service refuses it at once as well
    """

    make: Callable[[Path], Any]
    says: str
    shown: bool = False
    counted: bool = False


def _shown(make: Callable[[Path], Any], says: str) -> Refused:
    return Refused(make, says, shown=True)


REFUSED = {
    **{
        method: _shown(quantised(quant_method=method), rf"quantised \({method}\).*use the original")
        for method in ("gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors", "hqq", "a-method-to-come")
    },
    "bitsandbytes by its old flag": _shown(quantised(load_in_8bit=True), r"quantised \(bitsandbytes\)"),
    "compressed under the old key": _shown(
        lambda at: configured(at, compression_config={"quant_method": "compressed-tensors"}), "compressed-tensors"
    ),
    "quantised in a part": _shown(
        lambda at: configured(at, text_config={"quantization_config": {"quant_method": "awq"}}), r"quantised \(awq\)"
    ),
    "remote code": _shown(
        lambda at: configured(at, model_type="xyz_new", auto_map={"AutoModel": "modeling_x.XModel"}),
        "code of a repository is never run here",
    ),
    "an unknown type": _shown(lambda at: configured(at, model_type="xyz_new"), "'xyz_new', which transformers"),
    "a type that is no text": _shown(lambda at: configured(at, model_type={}), "of the type {}"),
    "no type": _shown(lambda at: without(at, "model_type"), "no model_type"),
    "relative positions": _shown(
        lambda at: configured(at, position_embedding_type="relative_key"), "'relative_key'.*another model"
    ),
    "layers without end": _shown(lambda at: configured(at, num_hidden_layers=10**9), "1,000,000,000.*more than any"),
    "an adapter beside": _shown(lambda at: beside(at, "adapter_config.json"), "adapter.*merge it"),
    "an adapter's weights beside": _shown(lambda at: beside(at, "adapter_model.safetensors"), "adapter.*merge it"),
    **{
        f"{name} alone": _shown(lambda at, name=name: renamed(at, name), rf"weights as {name} and not as safetensors")
        for name in ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model.gguf", "model.onnx", "m.pt")
    },
    "relative positions without the key": Refused(
        added(encoder__layer__0__attention__self__distance_embedding__weight=(127, 8)),
        "1 weights that BertModel has no place for, such as encoder.layer.0.attention.self.distance_embedding.weight",
    ),
    "adapters inside": Refused(
        added(bert__encoder__layer__0__output__adapters__a__up__weight=(32, 4)), "no place for.*adapters.a.up.weight"
    ),
    "scales of a quantisation": Refused(
        added(encoder__layer__0__output__dense__weight_scale=(32, 1)), "no place for.*weight_scale"
    ),
    "an embedding that is not used": Refused(
        added(embeddings__extra__weight=(4, 32)), "no place for.*embeddings.extra"
    ),
    "more layers than the config has": Refused(lambda at: configured(at, num_hidden_layers=2), "no place for.*layer.2"),
    "fewer layers than the config has": Refused(lambda at: configured(at, num_hidden_layers=4), "lacks .*layer.3"),
    "a weight is lacking": Refused(less(INSIDE), rf"lacks 1 weights .*{INSIDE}"),
    "a weight of another shape": Refused(changed(INSIDE, lambda x: x[:, :-1].contiguous()), rf"{INSIDE} has the shape"),
    "another config's sizes": Refused(lambda at: configured(at, intermediate_size=40), r"do not fit its config.*\[40"),
    "sizes beyond the files": Refused(lambda at: configured(at, intermediate_size=10**9), "describes a model of"),
    "no number": Refused(changed(INSIDE, one_is(float("nan"))), rf"not finite: {INSIDE} has 1 of 1536"),
    "an infinite weight": Refused(changed(INSIDE, one_is(float("inf"))), rf"not finite: {INSIDE} has 1 of"),
    "integers": Refused(changed(INSIDE, lambda x: (100 * x).to(torch.int8)), rf"{INSIDE} is stored as I8"),
    "cut off": Refused(cut(WEIGHTS, 9000), "are damaged.*again"),
    "cut off in its header": Refused(cut(WEIGHTS, 100), "are damaged.*again"),
    "empty": Refused(cut(WEIGHTS, 0), "are damaged.*again"),
    "no weights": Refused(lambda at: (at / WEIGHTS).unlink(), "has no weights.*save_pretrained"),
    "a shard is lacking": Refused(lambda at: sharded(at, keep=False), "lacks model-00002-of-00002.safetensors"),
    "an index of elsewhere": Refused(
        lambda at: sharded(at, index=lambda places: dict.fromkeys(places, "../other.safetensors")), "json .*damaged"
    ),
    "an index of nothing": Refused(lambda at: sharded(at, index=lambda _: {}), "json .*damaged"),
    "an index that is a list": Refused(lambda at: sharded(at, index=list), "json .*damaged"),
    "no tokenizer": Refused(
        lambda at: [(at / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")],
        "tokenizer",
        counted=True,
    ),
    "a tokenizer that is cut off": Refused(
        cut("tokenizer.json", 500), "tokenizer of .* (cannot|could not) be read", counted=True
    ),
    "a config key of another kind": Refused(lambda at: configured(at, hidden_size="32"), "config.json of model"),
    "no heads": Refused(lambda at: configured(at, num_attention_heads=0), "could not be read"),
}
HEAD = {"cls__predictions__bias": (99,), "cls__predictions__transform__dense__weight": (32, 32)}

SAME: dict[str, Callable[[Path], Any]] = {
    **{
        key: lambda at, key=key, value=value: configured(at, **{key: value})
        for key, value in {
            "output_attentions": True,
            "output_hidden_states": True,
            "use_cache": False,
            "return_dict": False,
            "torchscript": True,
            "torch_dtype": "float16",
            "dtype": "no such dtype",
            "_attn_implementation": "flash_attention_2",
            "attn_implementation": "flash_attention_2",
            "chunk_size_feed_forward": 4,
            "num_labels": 10**9,
            "quantization_config": None,
            "position_embedding_type": "absolute",
        }.items()
    },
    "a head": added(**HEAD),
    "no pooler": less("pooler.dense.weight", "pooler.dense.bias"),
    "positions as older versions saved them": lambda at: weighted(
        at, lambda held: {**held, "embeddings.position_ids": torch.arange(64)[None]}
    ),
    "a second copy": lambda at: (at / "consolidated.safetensors").write_bytes((at / WEIGHTS).read_bytes()),
    "the same as .bin beside": lambda at: torch.save(load_file(at / WEIGHTS), at / "pytorch_model.bin"),
    "two files": sharded,
    "an index beside one file": lambda at: beside(at, INDEX, b"no index"),
    "in float64": lambda at: weighted(at, lambda held: {name: x.double() for name, x in held.items()}),
}
"""Changes after which a tiny BERT gives the very numbers that it gave before."""
