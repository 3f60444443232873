"""The paper's experiment over a corpus: how well composed maps agree with layer maps, for up to 24 pairs of baselines.

corpora    sentences from files: lines, JSONL, CoNLL-U, Stanford dependencies
pairs      the pairs, by the authors' names and keys
request    some sentences to measure, as a service is asked; no torch
measures   all pairs of each layer of some sentences, from six integrals
measured   what was measured of a sentence, as NumPy arrays; no torch
ledger     what is measured, sentence by sentence, safe from a kill
conduct    the whole run, wherever sentences are measured; no torch
here       where: in this process
there      where: by the workers of a service; no torch
outputs    the tables, plots, files and the report of a run
"""
