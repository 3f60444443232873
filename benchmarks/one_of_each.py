"""A sentence of each construction of our corpus, drawn from a seed: for models on which all of it takes hours.

python -m benchmarks.one_of_each out/one_of_each.conllu --seed 1
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus" / "constructions.conllu"
MARK = "# construction = "


def one_of_each(text: str, seed: int) -> str:
    """CoNLL-U of one sentence of each construction, in the order of the corpus."""
    sentences = text.strip().split("\n\n")
    by_construction: dict[str, list[int]] = {}
    for number, sentence in enumerate(sentences):
        (mark,) = (line for line in sentence.splitlines() if line.startswith(MARK))
        by_construction.setdefault(mark, []).append(number)
    draw = random.Random(seed)
    chosen = sorted(draw.choice(numbers) for numbers in by_construction.values())
    return "".join(f"{sentences[number]}\n\n" for number in chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(one_of_each(CORPUS.read_text(encoding="utf-8"), options.seed), encoding="utf-8")


if __name__ == "__main__":
    main()
