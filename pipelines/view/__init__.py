"""Samples as a person checks them: regions drawn on the pictures, phrases in the same colours, turns as
bubbles, what is taught marked."""

from pipelines.view.drawing import draw, view_png
from pipelines.view.page import view_html
from pipelines.view.scene import Shown

__all__ = ["Shown", "draw", "view_html", "view_png"]
