"""Corpora for other programs: a target is a module here that writes what its program reads."""
