"""The documents as Markdown: their headings, links and blocks of code, and how to run these.

A block in sh, bash, console or python is run, unless a comment before it says why not: `<!-- not run: … -->`.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
SHELLS = {"sh", "bash", "console"}
NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*")
PROMPT = "$ "
SEPARATOR = "\x1e"


@dataclass(frozen=True)
class Block:
    """A block of code; `line` is the first of its lines in the page, `not_run` why it is not run."""

    page: str
    line: int
    language: str
    source: str
    not_run: str | None


@dataclass(frozen=True)
class Step:
    """Commands to run at once, and what they print: None where nothing is said of it; `…` stands for anything."""

    place: str
    commands: str
    output: str | None


class Document:
    """One page."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path.relative_to(ROOT))
        self.text = path.read_text(encoding="utf-8")
        self._tokens = MarkdownIt("commonmark").enable("table").parse(self.text)

    @cached_property
    def headings(self) -> list[str]:
        """The text of each heading, as it is written."""
        return [
            inline.content
            for opening, inline in zip(self._tokens, self._tokens[1:], strict=False)
            if opening.type == "heading_open"
        ]

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may name in this page, by GitHub's rule."""
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in self.headings}

    @cached_property
    def links(self) -> list[str]:
        """Where links lead and images lie."""
        inner = [child for token in self._tokens for child in token.children or ()]
        targets = [child.attrGet("href") or child.attrGet("src") for child in inner]
        return [str(target) for target in targets if target is not None]

    @cached_property
    def spoken(self) -> set[str]:
        """What stands between backquotes, outside blocks of code."""
        inner = [child for token in self._tokens for child in token.children or ()]
        return {child.content for child in inner if child.type == "code_inline"}

    def blocks(self, *languages: str) -> list[Block]:
        """The blocks in any of these languages."""
        return [block for block in self._blocks() if block.language in languages]

    def runnable(self, *languages: str) -> list[Block]:
        """Those of them that are run."""
        return [block for block in self.blocks(*languages) if block.not_run is None]

    def _blocks(self) -> Iterator[Block]:
        before: Token | None = None
        for token in self._tokens:
            if token.type == "fence" and token.map is not None:
                mark = NOT_RUN.fullmatch(before.content) if before is not None and before.type == "html_block" else None
                yield Block(
                    self.name,
                    token.map[0] + 2,
                    token.info.strip(),
                    token.content,
                    mark[1] if mark is not None else None,
                )
            before = token


def steps(block: Block) -> list[Step]:
    """A console block's commands, each with what it prints; a block in sh is one step."""
    place = f"{block.page}:{block.line}"
    if block.language != "console":
        return [Step(place, block.source, None)]
    found: list[Step] = []
    continued = False
    for number, line in enumerate(block.source.splitlines(keepends=True), block.line):
        last = found[-1] if found else None
        if continued and last is not None:
            found[-1] = Step(last.place, last.commands + line, last.output)
        elif line.startswith(PROMPT):
            found.append(Step(f"{block.page}:{number}", line.removeprefix(PROMPT), ""))
        elif last is not None:
            found[-1] = Step(last.place, last.commands, (last.output or "") + line)
            continue
        else:
            raise ValueError(f"{place}: a console block begins with a command")
        continued = line.rstrip("\n").endswith("\\")
    return found


def in_one_shell(todo: Sequence[Step]) -> str:
    """The steps as one script, for they share their variables; what each prints begins with SEPARATOR."""
    return "set -eo pipefail\n" + "".join(f"printf '{SEPARATOR}'\n{step.commands}" for step in todo)


def script(blocks: Sequence[Block]) -> tuple[str, str]:
    """Python blocks as one program, whose lines have the numbers that they have in the page; and what it prints.

    Of a line that prints, the comment says what.
    """
    lines: list[str] = []
    said: list[str] = []
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines))
        lines += block.source.splitlines()
        said += printed(block.source)
    return "\n".join(lines) + "\n", "\n".join(said)


def printed(source: str) -> Iterator[str]:
    """The comments of lines that print."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and "print(" in token.line:
            yield token.string.removeprefix("#").strip()


def prints(expected: str, actual: str) -> bool:
    """Whether the output is what is expected, but for the amount of white space and what `…` stands for."""
    if not expected.strip():
        return not actual.strip()
    return OutputChecker().check_output(re.sub(r"\s*\.?…\s*", "...", expected), actual, ELLIPSIS | NORMALIZE_WHITESPACE)


def marks(documents: Sequence[Document]) -> Mapping[str, int]:
    """How many blocks of each page are not run."""
    counts = {
        document.name: sum(block.not_run is not None for block in document.blocks(*SHELLS, "python"))
        for document in documents
    }
    return {name: count for name, count in counts.items() if count}
