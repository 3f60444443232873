"""Every (sentence, layer, target, pair) as Parquet, written sentence by sentence in row groups of some 100,000 rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lig_core.experiment.measured import Measured
from lig_core.experiment.pairs import Pair

SCHEMA = pa.schema(
    [
        ("sentence", pa.int32()),
        ("layer", pa.int16()),
        ("target", pa.int16()),
        ("token", pa.string()),
        ("relation", pa.string()),
        ("head_distance", pa.int16()),
        ("pair", pa.string()),
        ("distance", pa.float64()),
        ("normalised_distance", pa.float64()),
        ("pearson", pa.float64()),
        ("converged", pa.bool_()),
        ("still", pa.bool_()),
    ]
)
ROWS = 100_000


class Columns:
    """A Parquet file being written; a context manager."""

    def __init__(self, path: Path, pairs: Sequence[Pair], layers: Sequence[int]) -> None:
        self._file = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._keys = np.array([pair.key for pair in pairs])
        self._layers = np.array(layers)
        self._waiting: list[Any] = []

    def add(self, one: Measured) -> None:
        """One more sentence."""
        shape = one.distance.shape
        layer, target, pair = (axis.ravel() for axis in np.indices(shape))
        by_target = {
            "token": one.about["tokens"],
            "relation": one.about["relations"],
            "head_distance": one.about["head_distances"],
        }
        columns = {
            "sentence": np.full(layer.shape, one.number),
            "layer": self._layers[layer],
            "target": target,
            **{name: np.array(values, object)[target] for name, values in by_target.items()},
            "pair": self._keys[pair],
            "distance": one.distance.ravel(),
            "normalised_distance": one.normalised_distance.ravel(),
            "pearson": one.pearson.ravel(),
            "converged": one.converged.ravel(),
            "still": one.still.ravel(),
        }
        self._waiting.append(pa.table([pa.array(columns[f.name], f.type) for f in SCHEMA], SCHEMA))
        if sum(len(table) for table in self._waiting) >= ROWS:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            self._file.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()
        self._file.close()
