"""Annotation datasets, one module a dataset or family: files read as records, and records made samples.

`table` lists them; `dataset` says what one is.
"""
