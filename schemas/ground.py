"""Settings of what is made of pairs and boxes: grounding from raw pairs, and dialogues."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from schemas.settings import Settings

COLOURS: Final = "colours"
"""The detector that comes with the package: it finds what a phrase names by its colour."""

Fraction = Annotated[float, Field(ge=0, le=1)]


class DetectorSettings(Settings):
    """One open-vocabulary detector and which of its boxes are believed (filters/detect_load.py)."""

    model: str = Field(
        min_length=1,
        description="a folder with a checkpoint of transformers (OWL-ViT, OWLv2, Grounding DINO), OWNER/NAME of one "
        "on the hub, or colours",
    )
    revision: str | None = Field(None, description="of a checkpoint on the hub: a branch, tag or commit")
    floor: Fraction = Field(0.05, description="boxes below this score are not even written down")
    per_phrase: int = Field(
        10, ge=1, le=100, description="boxes of one phrase that are written down, best first"
    )
    threshold: Fraction = Field(
        0.65, description="boxes below this score are left out; moving it detects nothing anew"
    )
    nms: Fraction = Field(
        0.5, description="of boxes, whatever their phrases, that overlap more the best is kept"
    )
    threads: int = Field(1, ge=1, le=1024, description="threads that the detector computes with on a CPU")

    @model_validator(mode="after")
    def _above_floor(self) -> "DetectorSettings":
        if self.threshold < self.floor:
            raise ValueError(
                f"threshold {self.threshold:g} is below floor {self.floor:g}; lower the floor too"
            )
        return self


def _named(chunker: Any) -> Any:
    """Reads `auto` as our rules: what is chosen must not depend on what is installed."""
    return "rules" if chunker == "auto" else chunker


class GroundSettings(Settings):
    """How pairs of a source become grounding tuples (phase `ground`)."""

    detector: DetectorSettings
    chunker: Annotated[Literal["rules", "spacy"], BeforeValidator(_named)] = Field(
        "rules", description="our rules, or spaCy's pipelines, which must be installed; auto means rules"
    )
    pipelines: dict[str, str] = Field(
        {"en": "en_core_web_sm", "zh": "zh_core_web_sm"},
        description="language: spaCy pipeline, by name or folder",
    )
    languages: tuple[Literal["en", "zh"], ...] = Field(
        ("en",), min_length=1, description="of captions that are grounded: those that the detector reads"
    )
    expand: bool = Field(True, description="grow noun chunks to referring expressions (needs spaCy's tree)")
    max_chunks: int = Field(20, ge=1, le=100, description="phrases looked for in one picture, the first ones")


class ChatSettings(Settings):
    """Dialogues made of other samples (phase `compose`)."""

    localise: Fraction = Field(0.0, description="share of grounded pictures that are talked about too")
    rounds: int = Field(4, ge=1, le=20, description="questions of one such dialogue, at most")
    join: int = Field(1, ge=1, le=8, description="dialogues of one picture each that become one of several")
    joined: Fraction = Field(1.0, description="share of the dialogues that are joined")
