"""A population of model folders, each altered in one place, and what is right to say of every one of them.

Drawn from a seed: one file deleted, cut off, or with one byte, one weight or one config key altered. Of each the
library gives a result that is right, or refuses it in one line. A result is right where it is that of brute force on
the model which plain transformers loads from the same folder, all of whose weights are the file's and every weight of
the file in it; where plain transformers cannot load the folder, or not run it in float64, that of the folder before
it was altered.

`python -m tests.models.altered_folders --seed 1 --count 1000`, or `make folders`, tries many.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from lig_core import explain
from lig_core.blocks.precision import working_precision
from lig_core.errors import LigError
from tests.models import tiny_families  # noqa: F401 - adds its rows to FAMILIES
from tests.models.brute_force import Truth, gauss
from tests.models.checkpoints import WEIGHTS, configured, saved, weighted, without
from tests.models.tiny_models import FAMILIES

NAMES = ("bert", "gpt2", "llama", "t5", "roberta")
TEXT, TARGETS, LAYER, NODES = "the quick cat sat on the mat", [1, 4], 1, 2
SECONDS = 120
"""No folder takes so long, however much its config says there is to do."""
TOLERANCE = 1e-9
EPSILON = float(np.finfo(float).eps)
LINE = 900
"""Characters of the longest refusal: names of folders are long."""
VALUES: tuple[Any, ...] = (None, "x", "", [], {}, 1.5, True, False, -1, 0, 1, 10**9, 2**63, -(10**9))


@dataclass(frozen=True)
class Alteration:
    """What is altered in which family's folder."""

    family: str
    what: str
    make: Callable[[Path], Any] = field(compare=False)


@dataclass(frozen=True)
class Found:
    """What the library said: tokens and the map of one layer, or why not."""

    tokens: tuple[str, ...] = ()
    values: Any = None  # [target, source]
    refusal: str | None = None
    rounding: float = 0.0
    """How far `values` move, at most, when z moves by as much as rounds it: no two ways to compute z agree better."""


def originals(folder: Path) -> dict[str, Path]:
    """The families' folders as they are before anything is altered, with weights that are nowhere trivial."""
    return {name: _noisy(saved(folder / name, name)) for name in NAMES}


def _noisy(folder: Path) -> Path:
    generator = torch.Generator().manual_seed(0)

    def noise(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: x + 0.2 * torch.randn(x.shape, generator=generator) * (1 if x.dim() == 1 else 3 / x.shape[-1] ** 0.5)
            for name, x in weights.items()
        }

    weighted(folder, noise)
    return folder


def drawn(seed: int, count: int, folders: dict[str, Path]) -> Iterator[Alteration]:
    """The first `count` alterations of a seed."""
    dice = random.Random(seed)
    kinds = (_of_a_key, _of_a_key, _of_a_key, _of_a_file, _of_a_file, _of_a_weight)
    for _ in range(count):
        family = dice.choice(NAMES)
        what, make = dice.choice(kinds)(dice, folders[family], folders)
        yield Alteration(family, what, make)


def _of_a_key(dice: random.Random, folder: Path, folders: dict[str, Path]) -> tuple[str, Callable[[Path], Any]]:
    configs = {name: json.loads((at / "config.json").read_text()) for name, at in folders.items()}
    own, other = json.loads((folder / "config.json").read_text()), configs[dice.choice(NAMES)]
    if dice.random() < 0.15:
        key = dice.choice(sorted(other))
        return f"config.json: {key} of another family: {other[key]!r}", lambda at: configured(at, **{key: other[key]})
    key = dice.choice(sorted(own))
    before = own[key]
    if dice.random() < 0.15:
        return f"config.json: no {key}", lambda at: without(at, key)
    if isinstance(before, int | float) and not isinstance(before, bool) and dice.random() < 0.5:
        value = dice.choice([before + 1, before - 1, 2 * before, -before, before / 2, str(before)])
    elif isinstance(before, dict) and before and dice.random() < 0.7:
        value = {**before, dice.choice(sorted(before)): dice.choice(VALUES)}
    elif isinstance(before, str) and dice.random() < 0.5:
        value = dice.choice([before.upper(), before + "x", "relu", "silu", "float16", *NAMES])
    else:
        value = dice.choice(VALUES)
    return f"config.json: {key} {before!r} -> {value!r}", lambda at: configured(at, **{key: value})


def _of_a_file(dice: random.Random, folder: Path, folders: dict[str, Path]) -> tuple[str, Callable[[Path], Any]]:
    name = dice.choice(sorted(file.name for file in folder.iterdir()))
    size, kind, part = (folder / name).stat().st_size, dice.randrange(5), dice.random()
    place, byte, other = int(part * size), dice.randrange(256), folders[dice.choice(NAMES)]
    if kind == 0:
        return f"no {name}", lambda at: (at / name).unlink()
    if kind == 1:
        return f"{name} cut off at {place}", lambda at: (at / name).write_bytes((at / name).read_bytes()[:place])
    if kind == 2 and (other / name).is_file():
        return f"{name} of {other.name}", lambda at: (at / name).write_bytes((other / name).read_bytes())
    if kind == 3:
        return f"{name} with more at its end", lambda at: (at / name).write_bytes((at / name).read_bytes() + b"\x00{")

    def one_byte(at: Path) -> None:
        content = bytearray((at / name).read_bytes())
        content[place] = byte
        (at / name).write_bytes(content)

    return f"{name}: byte {place} is {byte}", one_byte


def _of_a_weight(dice: random.Random, folder: Path, folders: dict[str, Path]) -> tuple[str, Callable[[Path], Any]]:
    name = dice.choice(sorted(load_file(folder / WEIGHTS)))
    owner, _, last = name.rpartition(".")
    more: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
        "is lacking": lambda held: {key: x for key, x in held.items() if key != name},
        "is there twice": lambda held: {**held, f"{owner}.more.{last}": held[name].clone()},
        "has another name": lambda held: {(f"{key}_" if key == name else key): x for key, x in held.items()},
        "is shorter": lambda held: {**held, name: held[name][:-1].clone()},
        "has a number that is none": lambda held: {**held, name: held[name] * float("nan")},
        "is infinite": lambda held: {**held, name: held[name] + float("inf")},
        "is of integers": lambda held: {**held, name: (100 * held[name]).to(torch.int8)},
        "is half precise": lambda held: {**held, name: held[name].to(torch.bfloat16)},
        "is otherwise": lambda held: {**held, name: held[name].flip(0).contiguous()},
    }
    kind = dice.choice(sorted(more))
    return f"{name} {kind}", lambda at: weighted(at, more[kind])


def said(folder: Path) -> Found:
    """What the library says of a folder; whatever is no LigError is raised."""
    asked: dict[str, Any] = {"granularity": "layer", "layers": [LAYER], "target_tokens": TARGETS, "num_steps": NODES}
    try:
        found = explain(
            TEXT, model=str(folder), **asked, dtype="float64", device="cpu", labels=False, on_unconverged="ignore"
        )
    except LigError as error:
        return Found(refusal=error.detail)
    matrix = np.array(found["layers"][str(LAYER)]["z2z"]["matrix"], float)  # [source][target], null where not asked
    return Found(tuple(found["tokens"]), matrix[:, TARGETS].T)


def plain(folder: Path) -> tuple[Any, Any, Any]:
    """What plain transformers loads from a folder: the tokenizer, the model, and its report on the weights."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with working_precision(torch.float64):
        model, report = AutoModel.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float64, use_safetensors=True, output_loading_info=True
        )
    return tokenizer, model.eval(), report


def truth(folder: Path, tokenizer: Any, whole: Any, report: Any) -> Found:
    """What is so, of a model that plain transformers loaded.

    AssertionError where the model is not all that the files have; what its own forward pass raises where it cannot run.
    """
    left = [key for keys in (report["missing_keys"], report["unexpected_keys"]) for key in keys if _matters(key)]
    assert not left, f"plain transformers leaves out or makes up {left}"
    held = whole.state_dict()
    for name, stored in load_file(folder / WEIGHTS).items():
        placed = name in held and torch.equal(held[name].double(), stored.double())
        assert placed or not _matters(name), f"{name} is not what the file has"
    model = whole.get_encoder() if whole.config.is_encoder_decoder else whole
    model.config.use_cache = False  # brute force calls a layer again
    family, given = FAMILIES[whole.config.model_type], tokenizer(TEXT, return_tensors="pt")
    layer = model.get_submodule(family.layers)[LAYER]
    found = Truth(model, layer, family.output_projection, {name: given[name] for name in given})
    found.targets = TARGETS
    values = found.layer_map("self_input_token", *gauss(NODES))
    found.z = found.z * (1 + EPSILON * torch.randn(found.z.shape, generator=torch.Generator().manual_seed(0)).double())
    moved = (found.layer_map("self_input_token", *gauss(NODES)) - values).abs().max().item()
    return Found(tuple(tokenizer.convert_ids_to_tokens(given["input_ids"][0])), values.numpy(), rounding=moved)


def _matters(key: str) -> bool:
    return "pooler" not in key and not key.startswith("decoder.")


def judged(folder: Path, unaltered: Found) -> tuple[str, str | None]:
    """What the library said of a folder ("result", "refusal", "fault"), and what is wrong with it; None: nothing."""
    try:
        found = said(folder)
    except Exception as error:
        return "fault", f"uncaught {type(error).__name__}: {error}"
    if found.refusal is not None:
        one_line = "\n" not in found.refusal and len(found.refusal) < LINE
        return "refusal", None if one_line else f"a refusal of more than a line: {found.refusal}"
    try:
        loaded = plain(folder)
    except Exception:
        expected = unaltered
    else:
        try:
            expected = truth(folder, *loaded)
        except AssertionError as error:
            return "result", f"a result, though {error}"
        except Exception:
            expected = unaltered
    if found.tokens != expected.tokens:
        return "result", f"tokens {found.tokens}, not {expected.tokens}"
    largest = np.abs(expected.values).max()
    apart = np.abs(found.values - expected.values).max()
    return (
        "result",
        None
        if apart <= TOLERANCE * largest + 100 * expected.rounding
        else f"off by {apart / largest:.1e} of the largest entry",
    )


def try_each(seed: int, count: int, work: Path) -> tuple[list[str], Counter[str]]:
    """The faults among the first `count` folders of a seed, and how many were answered and refused."""
    folders = originals(work / "originals")
    unaltered = {name: said(folder) for name, folder in folders.items()}
    faults, outcomes = [], Counter[str]()
    for k, each in enumerate(drawn(seed, count, folders)):
        folder = work / "altered"
        shutil.copytree(folders[each.family], folder)
        each.make(folder)
        with _no_longer_than(SECONDS):
            outcome, wrong = judged(folder, unaltered[each.family])
        if wrong is not None:
            faults.append(f"{seed}/{k} {each.family}, {each.what}: {wrong}")
            print(faults[-1], flush=True)
        outcomes[outcome] += 1
        shutil.rmtree(folder)
    return faults, outcomes


class _no_longer_than:  # noqa: N801 - reads as what it does
    """Raises TimeoutError in the main thread after so many seconds."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        def late(*_: Any) -> None:
            raise TimeoutError(f"no answer within {self.seconds} s")

        self.before = signal.signal(signal.SIGALRM, late)
        signal.alarm(self.seconds)

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, self.before)


def main() -> None:
    """Try many folders; exit code 1 where any is answered wrongly."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--count", type=int, default=1000)
    asked = options.parse_args()
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as work:
        faults, outcomes = try_each(asked.seed, asked.count, Path(work))
    print(f"seed {asked.seed}: {asked.count} folders, {len(faults)} faults; {dict(outcomes)}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
