"""Samples in the words of other projects: one module a dialect, each with a writer and a reader.

A reader gives back what its writer was given, as far as the dialect has words for it; each module says what
it lacks, and refuses (MarkupError) what it cannot say without loss.
"""
