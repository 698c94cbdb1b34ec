"""The CLIP score: the cosine of a picture and its caption, by any model that open_clip reads."""

from filters.clip.preprocess import Preprocess
from filters.clip.scorer import Scorer

__all__ = ["Preprocess", "Scorer"]
