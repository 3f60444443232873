"""The series that a PromQL expression names, without a parser of all of PromQL: enough for those of docker/deploy."""

from __future__ import annotations

import re
from dataclasses import dataclass

RANGE = re.compile(r"\[[^\]]*\]")
GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"(?<![\w.])([a-zA-Z_:][\w:]*)(?:\s*\{([^}]*)\})?(?!\s*\(|[\w:{])")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
OPERATORS = {"and", "or", "unless", "bool", "offset"}


@dataclass(frozen=True)
class Selector:
    """A series by its name, and the labels that must have these values."""

    name: str
    matched: tuple[tuple[str, str], ...] = ()


def selectors(expression: str) -> list[Selector]:
    """Every series of an expression."""
    text = GROUPED.sub(" ", RANGE.sub("", expression))
    return [
        Selector(found[1], tuple(MATCHER.findall(found[2] or "")))
        for found in SELECTOR.finditer(text)
        if found[1] not in OPERATORS
    ]


def grouping(expression: str) -> set[str]:
    """Every label that an expression groups or joins by."""
    return {label.strip() for labels in GROUPED.findall(expression) for label in labels.split(",") if label.strip()}
