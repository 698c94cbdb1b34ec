"""Rendered pages of text whose every line, word and character knows where it stands."""
