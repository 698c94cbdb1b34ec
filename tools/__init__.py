"""Makers of what comes with the package; not part of the wheel."""
