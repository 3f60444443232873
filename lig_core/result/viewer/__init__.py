"""The viewer: one bundle, made of `viewer/` by `make viewer`, for `/` of the service, for files and for notebooks.

page     a result, or two, as one HTML page
show     the same in a notebook
"""
