"""Corpora in four forms are the same sentences; what is wrong in a file is said with its line."""

from collections import Counter

import pytest

from lig_core.errors import InvalidRequest
from lig_core.experiment.corpora import read_corpus
from tests.support.places import ROOT

FILES = {
    "a.conllu": "# text = x\n1-2\tThecat\t_\t_\t_\t_\t_\t_\t_\t_\n1\tThe\t_\t_\t_\t_\t2\tdet\t_\t_\n"
    "2\tcat\t_\t_\t_\t_\t3\tnsubj\t_\t_\n3\tsat\t_\t_\t_\t_\t0\troot\t_\t_\n\n\n1\tGo\t_\t_\t_\t_\t0\troot\t_\t_\n",
    "a.dep": "The 2-det\ncat 3-nsubj\nsat 0-root\n\nGo 0-root\n",
    "a.jsonl": '{"words": ["The", "cat", "sat"], "heads": [2, 3, 0], "relations": ["det", "nsubj", "root"]}\n'
    '{"words": ["Go"], "heads": [0], "relations": ["root"]}\n',
}


@pytest.mark.parametrize("name", FILES)
def test_every_form_with_relations_gives_the_same_sentences(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    first, second = read_corpus(tmp_path / name).sentences
    assert (first.number, first.text, first.words) == (0, "The cat sat", ("The", "cat", "sat"))
    assert (first.heads, first.relations) == ((2, 3, 0), ("det", "nsubj", "root"))
    assert (second.number, second.text, second.heads) == (1, "Go", (0,))


def test_lines_are_sentences_without_words(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffThe cat sat.\n\n  Go!\n", encoding="utf-8")
    corpus = read_corpus(tmp_path / "a.txt")
    assert [(one.text, one.words, one.heads) for one in corpus.sentences] == [
        ("The cat sat.", None, None),
        ("Go!", None, None),
    ]
    assert len(corpus.digest) == 64
    (tmp_path / "b").write_text('{"text": "Go!"}\n')
    assert read_corpus(tmp_path / "b", "jsonl").sentences[0].text == "Go!"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.dep", "The 2-det\ncat nsubj\n", "line 2"),
        ("a.dep", "The 7-det\n", "head from 0 to 1"),
        ("a.conllu", "1\tThe\n", "line 1: has 2 fields"),
        ("a.conllu", "2\tThe\t_\t_\t_\t_\t2\tdet\t_\t_\n", "out of order"),
        ("a.jsonl", "[1]\n", "no JSON object"),
        ("a.jsonl", '{"words": ["a"], "heads": [0]}\n', "give both"),
        ("a.jsonl", '{"x": 1}\n', "neither"),
        ("a.txt", "\n", "no sentences"),
        ("a.csv", "x\n", "--format"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidRequest, match=said):
        read_corpus(tmp_path / name)


def test_the_corpus_of_constructions_is_trees():
    sentences = read_corpus(ROOT / "benchmarks" / "corpus" / "constructions.conllu").sentences
    assert len(sentences) >= 200
    assert len({sentence.text for sentence in sentences}) == len(sentences)
    for sentence in sentences:
        assert Counter(sentence.heads)[0] == 1
        assert sentence.relations[sentence.heads.index(0)] == "root"
        for word in range(1, len(sentence.heads) + 1):
            above, at = set(), word
            while at:
                assert at not in above, sentence.text
                above.add(at)
                at = sentence.heads[at - 1]
