"""What is made of measured sentences. Imports no torch.

tables     reducers over sentences in their order: the authors' two tables, and our own with intervals
columns    every (sentence, layer, target, pair) as Parquet
authors    the authors' files, one a sentence: written, read, compared by their rules
plots      pictures of our table
report     what was asked, how, and what came out, as Markdown
"""
