"""The paper's experiment over a corpus: how well composed maps agree with layer maps, for up to 24 pairs of baselines.

corpora    sentences from files: lines, JSONL, CoNLL-U, Stanford dependencies
pairs      the pairs, by the authors' names and keys
measures   one sentence: all pairs of each layer from six integrals
ledger     what is measured, sentence by sentence, safe from a kill
tables     reducers over sentences in their order: the authors' two tables, and our own with intervals
columns    every (sentence, layer, target, pair) as Parquet
authors    the authors' files, one a sentence: written, read, compared by their rules
plots      pictures of our table
report     what was asked, how, and what came out, as Markdown
conduct    the whole run
"""
