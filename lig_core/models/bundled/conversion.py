"""Weights of a Llama in a GGUF file, written out as safetensors: once on a host, offline. Imports no torch.

They lie in the folder of assets of the Hugging Face cache, which is where `HF_ASSETS_CACHE` says, else below
`HF_HOME`, so that the library, the command line and every worker of a host share them. Quantised numbers are written in
float32 as `gguf` dequantises them, each exactly. What was read and what was written have known digests: a file that is
damaged or cut off is noticed, and made again, when the model is loaded the next time.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

from lig_core.errors import ModelNotFound, UnsupportedModel

if TYPE_CHECKING:
    import numpy as np

    Weights = Mapping[str, np.ndarray[Any, Any]]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LOCK = ".lock"
PARTIAL = ".partial"
"""Ending of a file that is being written."""
BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
OF_THE_MODEL = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
OF_A_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of GGUF, and of transformers, of the weights of a Llama whose output embedding is its input's."""
ROTATED = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}
"""Weights whose rows GGUF has in another order, and the number of heads that they are of: the two halves that a rotary
embedding turns are interleaved there, and stand one after the other here."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conversion:
    """A conversion of one known file: `source` in the package's folder.

    source_digest: SHA-256 of that file; weights_digest: of what it is converted to (`digest_of`); quantisation: of the
    numbers in that file, in words; number: raised whenever other files are written of the same.
    """

    source: str
    source_digest: str
    weights_digest: str
    quantisation: str
    number: int = 1


def place_of(name: str, identity: str) -> Path:
    """The folder that a model is converted into."""
    return Path(constants.HF_ASSETS_CACHE) / "lig" / name / identity


def converted_folder(name: str, conversion: Conversion, package: Path, description: Path, identity: str) -> Path:
    """The folder with config, tokenizer and weights of a model, which is made first unless a sound one is there.

    package: the folder of the file to convert; description: that of config and tokenizer. Of several processes that
    need it at once, one makes it and the others wait.

    Raises ModelNotFound where the file is not there or the folder cannot be written, and UnsupportedModel where it is
    another file, or `gguf` is not installed.
    """
    folder = place_of(name, identity)
    try:
        if _is_whole(folder, description, conversion):
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(folder / LOCK):
            if not _is_whole(folder, description, conversion):
                _convert(name, conversion, package / conversion.source, description, folder)
    except OSError as error:
        raise ModelNotFound(
            f"model '{name}' could not be converted into {folder} ({error.strerror or error}); make that folder "
            "writable and give it 600 MB of room, or have HF_ASSETS_CACHE name one that is"
        ) from error
    return folder


def read_weights(file: Path) -> Weights:
    """The weights in a GGUF file, dequantised, by the names that transformers gives them."""
    from gguf import GGUFReader  # noqa: PLC0415 - the base install has none of these
    from gguf.quants import dequantize  # noqa: PLC0415

    reader = GGUFReader(file)
    weights: dict[str, np.ndarray[Any, Any]] = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        block = BLOCK.fullmatch(tensor.name)
        if block is None:
            weights[OF_THE_MODEL[tensor.name]] = values
            continue
        layer, part = block.groups()
        if part in ROTATED:
            values = _halves_apart(values, reader.fields[ROTATED[part]].contents())
        weights[f"model.layers.{layer}.{OF_A_BLOCK[part]}.weight"] = values
    return weights


def digest_of(file: Path) -> str:
    """Hexadecimal SHA-256 over names, shapes and numbers of a safetensors file, in the order of the names."""
    from safetensors import safe_open  # noqa: PLC0415 - the base install has none of it

    digest = hashlib.sha256()
    with safe_open(file, framework="numpy") as opened:
        for name in sorted(opened.keys()):
            tensor = opened.get_tensor(name)
            digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
            digest.update(tensor.data)
    return digest.hexdigest()


def _convert(name: str, conversion: Conversion, source: Path, description: Path, folder: Path) -> None:
    from safetensors import SafetensorError  # noqa: PLC0415 - the base install has none of these
    from safetensors.numpy import save_file  # noqa: PLC0415

    began = time.monotonic()
    weights = _weights_of(name, conversion, source)

    def write(file: Path) -> None:
        try:
            save_file(dict(weights), file, {"format": "pt"})
        except SafetensorError as error:  # what the system said is in its text alone
            raise OSError(str(error)) from error
        shutil.copymode(folder / CONFIG, file)  # safetensors' own is for this user alone
        written = digest_of(file)
        if written != conversion.weights_digest:
            raise UnsupportedModel(
                f"model '{name}' could not be converted: its weights came out with the digest {written} in place of "
                f"{conversion.weights_digest}; run: pip install --force-reinstall gguf safetensors, and see that the "
                "disk is sound"
            )

    for file in description.iterdir():
        _put(folder / file.name, partial(shutil.copyfile, file))
    _put(folder / WEIGHTS, write)
    size = (folder / WEIGHTS).stat().st_size
    log.info("converted %s in %.1f s: %s, %d bytes", name, time.monotonic() - began, folder / WEIGHTS, size)


def _weights_of(name: str, conversion: Conversion, source: Path) -> Weights:
    if not source.is_file():
        raise ModelNotFound(f"the weights of model '{name}' are not here: there is no {source}; install it again")
    with source.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != conversion.source_digest:
        raise UnsupportedModel(
            f"{source} is not the file that model '{name}' is made of: its SHA-256 is {found} in place of "
            f"{conversion.source_digest}; install that version of its package again"
        )
    try:
        return read_weights(source)
    except ModuleNotFoundError as error:
        raise UnsupportedModel(
            f"model '{name}' has to be converted, which needs {error.name}; run: pip install 'lig-service[{name}]'"
        ) from error


def _put(place: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that whoever looks sees all of it, or what was there before."""
    written = place.with_name(f".{place.name}{PARTIAL}")
    try:
        write(written)
        written.replace(place)
    finally:
        written.unlink(missing_ok=True)


def _is_whole(folder: Path, description: Path, conversion: Conversion) -> bool:
    from safetensors import SafetensorError  # noqa: PLC0415 - the base install has none of it

    try:
        return (
            all((folder / file.name).read_bytes() == file.read_bytes() for file in description.iterdir())
            and digest_of(folder / WEIGHTS) == conversion.weights_digest
        )
    except (FileNotFoundError, SafetensorError):
        return False


def _halves_apart(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of each head from pairs (0, d/2), (1, d/2 + 1), … to the first halves of all pairs and then the second."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
