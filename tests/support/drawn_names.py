"""Names that one might send as a model's, out of a grammar of words, separators, dots, `@`, encodings and paths."""

from __future__ import annotations

import random

STARTS = (
    "",
    "",
    "",
    "",
    "",
    "/",
    "//",
    "./",
    "../",
    "~/",
    "~root/",
    "\\",
    "\\\\host\\",
    "C:",
    "C:\\",
    "file://",
    "hf://",
)
STARTS += ("%2F", "\0", " ")
WORDS = ("minilm", "MiniLM", "ok", "ok", "OK", "shelf/tiny", "shelf", "org/name", "org", "gpt2", "link", "here", "pipe")
WORDS += ("..", ".", "...", "", "etc/passwd", "models", "config.json", "snapshots", "refs/main", "nul", "-", "--")
WORDS += ("a" * 97, "a" * 300, "é", "\uff4f\uff4b", "\u043e\u043a", "ok\u0301", "\u202e", "\ud800", "\n", "\x7f")
WORDS += ("[o]k", "o?", "*", "{}", "$HOME", "`id`")
SEPARATORS = (
    "/",
    "/",
    "//",
    "/./",
    "/../",
    "\\",
    "%2f",
    "%2F",
    "%5c",
    "%00",
    "\0",
    ".",
    "..",
    "@",
    "@/",
    ":",
    "?",
    "#",
    ";",
)
SEPARATORS += ("\u2215", "\uff0f", " ", "+")
ENDS = (
    "",
    "",
    "",
    "",
    "/",
    "/.",
    "//",
    "/..",
    "@",
    "@main",
    "@v1",
    "@../../../outside",
    "@..",
    "@refs/../../x",
    "@/dev/zero",
)
ENDS += ("@\0", "@a b", "@%2e%2e", "@" + "x" * 150, ".git", ".lock", "\0", " ", ".")


def drawn_names(count: int, seed: int, *, outside: str) -> list[str]:
    """That many names, all different; some lead to the folder `outside`, which has a file and a `pipe`."""
    dice = random.Random(seed)
    words = (*WORDS, outside, outside[1:])
    ends = (*ENDS, f"@{outside}", f"@{outside}/config.json", f"@{outside}/pipe", f"@..{outside}")
    found: dict[str, None] = {}
    while len(found) < count:
        parts = [dice.choice(words) for _ in range(dice.choice([1, 1, 1, 2, 2, 3]))]
        name = dice.choice(STARTS) + dice.choice(SEPARATORS).join(parts) + dice.choice(ends)
        if name:
            found[name] = None
    return list(found)
