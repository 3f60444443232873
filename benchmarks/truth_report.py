"""What became of the columns of a population, counted by kind, map and tolerance, and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.judgement import DOUBTFUL, WRONG, Column, Found
from benchmarks.reference import AGREEMENT


def report(seed: int, found: dict[str, list[Found]], options: dict[str, Any]) -> dict[str, Any]:
    everything = [column for streams in found.values() for part in streams for column in part.columns]
    plain = [error for streams in found.values() for part in streams for error in part.plain]
    refused = sum((part.refused for streams in found.values() for part in streams), Counter[str]())
    certified = [c for c in everything if c.certified and c.reference]
    by_map: dict[str, list[Column]] = {}
    for column in sorted(everything, key=lambda c: (c.map, c.baseline)):
        by_map.setdefault(f"{column.map}, {column.baseline}", []).append(column)
    return {
        "seed": seed,
        **options,
        "columns": len(everything),
        "certified_wrong": sum(c.error > WRONG for c in certified),
        "certified_doubtful": sum(c.error > DOUBTFUL for c in certified),
        "refused": dict(refused),
        "plain": {"compared": len(plain), "worst": max(plain, default=None)},
        "by_kind": {
            kind: row([c for part in streams for c in part.columns], sum(part.seconds for part in streams))
            for kind, streams in found.items()
        },
        "by_map": {name: row(columns) for name, columns in by_map.items()},
        "by_rtol": {f"{rtol:g}": row([c for c in everything if c.rtol == rtol]) for rtol in (1e-2, 1e-3, 1e-4)},
        "all": row(everything),
        "wrong": [asdict(c) for c in sorted(certified, key=lambda c: -c.error) if c.error > DOUBTFUL],
        "flagged_right_on_ordinary_text": [
            asdict(c)
            for c in everything
            if not c.certified and c.reference and c.error <= WRONG and c.kind.endswith(", ordinary")
        ][:40],
    }


def row(columns: Sequence[Column], seconds: float | None = None) -> dict[str, Any]:
    """Counts of some columns; `certified` by the status beside it."""
    known = [c for c in columns if c.reference]
    certified: dict[str, dict[str, int]] = {}
    for status in sorted({c.status for c in known if c.certified}):
        errors = [c.error for c in known if c.certified and c.status == status]
        certified[status] = {
            "right": sum(e <= WRONG for e in errors),
            "wrong": sum(e > WRONG for e in errors),
            "doubtful": sum(e > DOUBTFUL for e in errors),
        }
    flagged = [c.error for c in known if not c.certified]
    nodes = [c.nodes for c in columns if c.nodes is not None and c.status != "zero_path"]
    moved = sorted(c.moved for c in columns if c.moved is not None)
    return {
        "columns": len(columns),
        "no_reference": len(columns) - len(known),
        "certified": certified,
        "flagged_right": sum(e <= WRONG for e in flagged),
        "flagged_wrong": sum(e > WRONG for e in flagged),
        "mean_nodes": sum(nodes) / len(nodes) if nodes else None,
        "moved_by_rounding_of_z": {
            "columns": len(moved),
            "median": moved[len(moved) // 2],
            "p99": moved[int(0.99 * len(moved))],
            "worst": moved[-1],
        }
        if moved
        else None,
        "seconds": seconds,
    }


def table(found: dict[str, Any]) -> str:
    lines = [
        "# Certificates against the truth",
        "",
        f"Seed {found['seed']}: {found['columns']} columns, float32 on {found.get('device', 'cpu')}, judged in float64 "
        f"at the same z by a rule that has nothing of the adaptive one; wrong: an L1 error above {WRONG:g} of the "
        f"column's L1. Certified are {found['certified_wrong']} wrong columns, and {found['certified_doubtful']} with "
        f"an error above {DOUBTFUL:g}. Where halves of the reference differ by more than {AGREEMENT:g} there is none. "
        f"Its rates differ from plain automatic differentiation by {found['plain']['worst'] or 0:.1e} at most, in "
        f"{found['plain']['compared']} columns. Moved: by rounding of z, as a share of the column, in a sample; no "
        "certificate is about it.",
        "",
    ]
    for title, key in (("kind", "by_kind"), ("map, baseline", "by_map"), ("rtol", "by_rtol")):
        lines += [
            f"| {title} | columns | certified right: ok, noise_limited, other | certified wrong: likewise "
            f"| > {DOUBTFUL:g} | flagged right | flagged wrong | no reference | nodes | moved: median, worst |",
            "|" + "---|" * 10,
        ]
        lines += [_line(name, counts) for name, counts in [*found[key].items(), ("all", found["all"])]]
        lines.append("")
    if found["wrong"]:
        lines += [
            f"## Certified, with an error above {DOUBTFUL:g}",
            "",
            "| error | entry_error | status | cause | kind | map | layer, target | rtol | nodes | tokens | subject |",
            "|" + "---|" * 11,
        ]
        lines += [_wrong(column) for column in found["wrong"][:60]]
    return "\n".join(lines).rstrip() + "\n"


def _line(name: str, counts: dict[str, Any]) -> str:
    def split(key: str) -> str:
        certified = {status: each[key] for status, each in counts["certified"].items()}
        ok, hidden = certified.pop("ok", 0), certified.pop("noise_limited", 0)
        return f"{ok}, {hidden}, {sum(certified.values())}"

    doubtful = sum(each["doubtful"] for each in counts["certified"].values())
    nodes = "" if counts["mean_nodes"] is None else f"{counts['mean_nodes']:.1f}"
    moved = counts["moved_by_rounding_of_z"]
    moves = "" if moved is None else f"{moved['median']:.1e}, {moved['worst']:.1e}"
    return (
        f"| {name} | {counts['columns']} | {split('right')} | {split('wrong')} | {doubtful} | "
        f"{counts['flagged_right']} | {counts['flagged_wrong']} | {counts['no_reference']} | {nodes} | {moves} |"
    )


def _wrong(c: dict[str, Any]) -> str:
    entry = "" if c["entry_error"] is None else f"{c['entry_error']:.1e}"
    head = "" if c["head"] is None else f", head {c['head']}"
    return (
        f"| {c['error']:.1e} | {entry} | {c['status']} | {c['cause']} | {c['kind']} | {c['map']}, {c['baseline']} | "
        f"{c['layer']}, {c['target']}{head} | {c['rtol']:g} | {c['nodes']} | {c['tokens']} | {c['subject']} |"
    )
