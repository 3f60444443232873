"""Documents as plain data, made as late as may be. Imports no NumPy.

later    what is made when it is read or written
text     documents as JSON text, whole or part by part
lazy     documents as dicts whose values are made when they are first read
"""
