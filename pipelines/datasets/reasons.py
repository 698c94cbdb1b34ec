"""Why an annotation, or a part of one, becomes no sample; the names are drop reasons in the ledger."""

from typing import Final, NamedTuple

from schemas.errors import InputError, nearest

REASONS: Final = {
    # the record
    "bad_json": "the record is not JSON",
    "trailing_garbage": "the record is JSON followed by something else",
    "bad_record": "a field of the record is missing or of the wrong kind",
    "too_large": "the record is larger than the limit",
    "damaged_file": "the file is damaged, and is read up to there; this row stands for the rest of it",
    "repeated_id": "another record before it has the same id",
    "unknown_image": "the annotation is of an image that the dataset does not list",
    "unknown_annotation": "the record points to an annotation that the dataset does not hold",
    "unread_field": "the record has data in a field that is not read",
    "other_media": "the record is of video or audio",
    "foreign_markup": "a text holds the markup of another format",
    "bad_markup": "the markup of a text is broken",
    # images
    "no_image": "the record names no image",
    "missing_image": "the image is not among the files",
    "max_missing": "the image is there, but too many others of its document are not",
    "image_size": "the image's size is not the one that the annotation was made for",
    "image_count": "the images listed are not as many as the text shows",
    "remote_image": "the page shows an image from elsewhere",
    "inline_image": "the page holds the image inside itself",
    "outside_image": "the page names a file outside its folder",
    # regions
    "box_numbers": "a box is not four finite numbers",
    "box_order": "a box's second corner is not below and to the right of its first",
    "box_xywh": "a box that should be two corners looks like a corner with width and height",
    "box_xyxy": "a box that should be a corner with width and height looks like two corners",
    "box_normalised": "a box that should be in pixels is in shares of the image's sides",
    "box_pixels": "a box that should be in shares of the image's sides is in pixels",
    "box_outside": "a box lies outside its image",
    "box_degenerate": "a box has no extent within its image",
    "box_grid": "a box has no extent on the grid of 0 to 1000 in which boxes are taught",
    "crowd": "a box stands for a crowd, not for one object",
    "no_regions": "the record has no phrase with a usable box",
    # words
    "empty_caption": "the caption has no words",
    "unreadable": "the annotators marked the words as not readable",
    "empty_phrase": "a phrase has no words",
    "span_outside": "a phrase's offsets are not within the caption",
    "span_mismatch": "the caption does not have the phrase's words at its offsets",
    "span_missing": "the caption does not have the phrase's words, so only the phrase itself is used",
    "overlap": "a phrase overlaps others that together have more boxes",
    # questions and dialogues
    "empty_question": "the question has no words; a dialogue is kept up to there",
    "empty_answer": "the answer has no words; a dialogue is kept up to there",
    "unanswered": "the question has no answer; a dialogue is kept up to there",
    "no_question": "the answer belongs to no question that is there",
    "out_of_turn": "one speaker speaks twice, or somebody unknown does",
    "leading_answer": "the dialogue begins with an answer; it is left out",
    "answer_image": "an answer shows an image; the dialogue is kept up to there",
    "no_turns": "the dialogue has no question with an answer",
    # documents
    "no_images": "the document shows no image that can be used",
    "no_text": "the document has no words",
    "image_place": "an image's place in the text is not given",
}
"""Each reason with what it means."""


class Refusal(NamedTuple):
    """A reason (a key of REASONS), a sentence on the case, and which of its record's annotations it is about.

    `at` is the place in what the dataset's `listed` gives; None where the refusal is about none of them alone.
    """

    reason: str
    text: str
    at: int | None = None


class Refused(Exception):
    """Raised where a record, or a part, becomes no sample."""

    def __init__(self, reason: str, text: str = "") -> None:
        if reason not in REASONS:
            near = nearest(reason, REASONS)
            raise InputError(
                f"a record is refused for {reason!r}, which is no reason; {near}reasons are {', '.join(REASONS)}"
            )
        super().__init__(reason, text)
        self.refusal = Refusal(reason, text or REASONS[reason])
