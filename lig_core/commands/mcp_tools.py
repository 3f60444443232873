"""The tools of `lig mcp`: explain, trace, compare. Each answers what is largest, by the texts of tokens, and how far it
is certified; a whole result goes to a file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lig_core.client.files import format_of
from lig_core.errors import InvalidRequest

if TYPE_CHECKING:
    from lig_core.client import Client
    from lig_core.result.arrays import LayerArrays, Result

MOST_KEPT = 16
"""Results that `trace` and `compare` find by the names that `explain` gave them."""
DIGITS = 4
CERTIFIED = "every column's contributions sum to its known total within rtol {rtol:g}, by the certificate"
OF_COMPOSITIONS = (
    "A composition has no certificate of its own: it counts as converged where all that it is made of and compared "
    "with has, and has no entries for a target where it is not known (`not_known`)."
)
ZERO = (
    "A zero-baseline map of a whole layer is not a ranking of what matters: no layer has ever seen a vector of zeros. "
    "Take self_input_token to ask what other tokens add."
)
ITB = "Under self_input_token what a token adds to itself is 0 by definition."


class Tools:
    """The tools, computing here or at a service; files lie in `folder`. Every method raises a LigError."""

    def __init__(self, folder: Path, client: Client | None = None) -> None:
        self._folder, self._client = folder.resolve(), client
        self._results: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._made = 0

    def explain(self, request: Mapping[str, Any], top: int, file: str | None) -> dict[str, Any]:
        """Compute a result; its largest contributions, map by map."""
        path = None if file is None else self._path(file)
        if path is not None:
            format_of(path)  # refused now, and not when all is computed
        name, result = self._computed({**request, "on_unconverged": "ignore"})
        self._keep(name, result)
        if path is not None:
            from lig_core.commands.explain_text import write_result

            write_result(result, path)
        answer = _summary(name, result, top)
        return answer if path is None else {**answer, "file": str(path)}

    def trace(
        self, result: str, map: Any, source: int | None, target: int | None, top: int, layers: str | None
    ) -> dict[str, Any]:
        """Chain the layers of a result: the strongest paths, and what reaches the target over all layers."""
        from lig_core.flow import Flow
        from lig_core.flow.account import account
        from lig_core.result.select import Selection, select

        found = select(self._found(result), Selection.parse(layers=layers))
        flow = account(found, Flow.of(found, map=map), source=source, target=target, top=top)
        named = _names(found)
        kept = ("map", "baseline", "normalised_by", "own_share", "layers", "certified", "no_rollout")
        answer = {key: flow[key] for key in kept if key in flow}
        answer["paths"] = [
            {"score": _short(path["score"]), "tokens": [named[token] for token in path["tokens"]]}
            for path in flow["paths"]
        ]
        if target is not None and flow["rollout"] is not None:
            reaching = {named[source]: row[target] for source, row in enumerate(flow["rollout"])}
            largest = sorted(reaching, key=lambda token: -abs(reaching[token]))[:top]
            answer["rollout_into_target"] = {token: _short(reaching[token]) for token in largest}
        return answer | _notes(flow["baseline"])

    def compare(self, a: str, b: str, top: int, layers: str | None, maps: str | None) -> dict[str, Any]:
        """How two results differ, b less a: the settings, and of each map the largest changes."""
        from lig_core.result.diff import diff
        from lig_core.result.select import Selection, select

        selection = Selection.parse(layers=layers, maps=maps)
        one, other = (select(self._found(name), selection) for name in (a, b))
        head, parts = diff(one, other, top=top, difference=False)
        return {
            "settings": head["settings"],
            "unaligned": head["unaligned"],
            "layers": {index: {name: _changes(part) for name, part in maps.items()} for index, maps in parts},
        }

    def _computed(self, request: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        if self._client is None:
            from lig_core.method import explain

            self._made += 1
            return f"result-{self._made}", explain(**request)
        from lig_core.client import require_success

        job = self._client.wait(self._client.submit(**request)["id"])
        require_success(job)
        return job["id"], self._client.result(job["id"])

    def _keep(self, name: str, result: Mapping[str, Any]) -> None:
        self._results[name] = result
        while len(self._results) > MOST_KEPT:
            self._results.popitem(last=False)

    def _found(self, name: str) -> Result:
        """A result by its name: one of `explain`, a file in the folder, or a job of the service."""
        from lig_core.result.saved import read_result

        if name not in self._results:
            path = self._path(name)
            if path.is_file():
                return read_result(path)
            if self._client is None:
                raise InvalidRequest(f"there is no result '{name}': name one that explain answered with, or a file")
            self._keep(name, self._client.result(name))
        return _arrays(self._results[name])

    def _path(self, name: str) -> Path:
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder):
            raise InvalidRequest(f"'{name}' is outside {self._folder}, where files of this server lie")
        return path


def _arrays(result: Mapping[str, Any]) -> Result:
    from lig_core.result.arrays import Result
    from lig_core.result.read import from_document

    return Result.of(*from_document(result))


def _summary(name: str, document: Mapping[str, Any], top: int) -> dict[str, Any]:
    from lig_core.result.unconverged import complaint

    result, config = _arrays(document), document["config"]
    named = _names(result)
    layers = [result.load(index) for index in result.indices]
    baselines = {map: config[f"baseline_{map}"] for map in ("att", "mlp", "layer") if map in layers[0].maps}
    return {
        "result": name,
        "text": document["text"],
        "model": document["model"],
        "tokens": named,
        "converged": document["converged"],
        "certificate": complaint(document) or CERTIFIED.format(rtol=config["rtol"]),
        "baselines": baselines,
        "layers": {layer.index: dict(_largest(layer, named, top)) | _not_known(layer, named) for layer in layers},
        **({"compositions": OF_COMPOSITIONS} if "composed" in layers[0].maps else {}),
    } | _notes(baselines.get("layer"))


def _largest(layer: LayerArrays, named: list[str], top: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Of each map the entries of largest absolute value, largest first; `share` is of the column's total."""
    from lig_core.result.arrays import MAPS, largest_places

    for name, axes in MAPS.items():
        if name not in layer:
            continue
        entries = []
        for place in largest_places(layer[name], top):
            at = dict(zip(axes, place, strict=True))
            column = (*place[:-2], place[-1])
            entry: dict[str, Any] = {"value": _short(layer[name][place]), "target": named[layer.targets[at["target"]]]}
            if "source" in at:
                entry["source"] = named[at["source"]]
            if "dimension" in at:
                entry["dimension"] = at["dimension"]
            if "head" in at:
                entry["head"] = layer.heads[at["head"]]
            if f"{name}.total" in layer and layer[f"{name}.total"][column] > 0:
                entry["share"] = _short(layer[name][place] / layer[f"{name}.total"][column])
            converged = layer.arrays.get(f"{name}.converged", layer.arrays.get("composed.converged"))
            if converged is not None and not converged[column]:
                entry["converged"] = False
            entries.append(entry)
        yield name, entries


def _not_known(layer: LayerArrays, named: list[str]) -> dict[str, list[str]]:
    """The targets of which the conserving composition is not known, where there are any."""
    if "composed.conserving" not in layer:
        return {}
    import numpy as np

    missing = np.flatnonzero(np.isnan(layer["composed.conserving"]).all(0))
    targets = [named[layer.targets[k]] for k in missing]
    return {"not_known": targets} if targets else {}


def _changes(part: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: _short(part[name]) for name in ("relative_l2", "pearson")}
    top = [
        {key: _short(value) if isinstance(value, float) else value for key, value in _plain(change).items()}
        for change in part["top"]
    ]
    return {**numbers, "top": top}


def _plain(change: Mapping[str, Any]) -> dict[str, Any]:
    named = {axis: f"{change[f'{axis}_token']} ({change[axis]})" for axis in ("source", "target") if axis in change}
    rest = {key: change[key] for key in ("dimension", "head") if key in change}
    return {**named, **rest, **{key: float(change[key]) for key in ("a", "b", "difference")}}


def _names(result: Result) -> list[str]:
    """The tokens with their indices, which a text may repeat."""
    return [f"{token} ({index})" for index, token in enumerate(result.head["token_labels"])]


def _notes(baseline: str | None) -> dict[str, str]:
    note = {"zero": ZERO, "self_input_token": ITB}.get(baseline or "")
    return {} if note is None else {"note": note}


def _short(value: Any) -> float | None:
    return None if value is None else float(f"{float(value):.{DIGITS}g}")
