import pytest

from schemas.markup import EVALUATION, STAGE1, STAGE2, MarkupError, Style, parse, render
from schemas.sample import Example, Image, ImageRef, Phrase, Segment, Text, Turn
from tests.schemas.markup.strategies import sample

PICTURE = Image("JPEG", 1000, 500, "0" * 64)
DOG = Phrase(" dog".strip(), ((100, 50, 300.5, 250),), supervised=True)


def document(task: str, *segments: Segment, language: str = "en") -> Example:
    pictures = (PICTURE,) if ImageRef(0) in segments else ()
    return sample(pictures, (Turn("document", segments),), task, language)


def marked(one: Example, style: Style = STAGE2) -> str:
    """The text with [[ ]] around what carries loss."""
    made = render(one, style)
    text = made.text
    for start, end in reversed(made.loss):
        text = f"{text[:start]}[[{text[start:end]}]]{text[end:]}"
    return text


LINE = ((10, 10), (200, 12), (200, 40), (10, 38))
CASES = {
    "caption": (
        document("caption", ImageRef(0), Text("A dog.", True)),
        "<img>0</img>Generate the caption in English:[[ A dog.<|endoftext|>]]",
    ),
    "chinese caption": (
        document("caption", ImageRef(0), Text("一只狗", True), language="zh"),
        "<img>0</img>Generate the caption in Chinese:[[ 一只狗<|endoftext|>]]",
    ),
    "vqa": (
        document("vqa", ImageRef(0), Text("What is it?"), Text("a dog", True)),
        "<img>0</img>What is it? Answer:[[ a dog<|endoftext|>]]",
    ),
    "grounding": (
        document("grounding", ImageRef(0), Text("A ", True), DOG, Text(" runs.", True)),
        "<img>0</img>Generate the caption in English with grounding:[[ A<ref> dog</ref>"
        "<box>(100,100),(300,500)</box> runs.<|endoftext|>]]",
    ),
    "grounding from the first word": (
        document("grounding", ImageRef(0), DOG, Text(" and ", True), Phrase("cats", DOG.boxes * 2, (), True)),
        "<img>0</img>Generate the caption in English with grounding:[[<ref> dog</ref>"
        "<box>(100,100),(300,500)</box> and<ref> cats</ref><box>(100,100),(300,500)</box>"
        "<box>(100,100),(300,500)</box><|endoftext|>]]",
    ),
    "referring": (
        document("referring", ImageRef(0), DOG),
        "<img>0</img><ref>dog</ref>[[<box>(100,100),(300,500)</box><|endoftext|>]]",
    ),
    "grounded_caption": (
        document("grounded_caption", ImageRef(0), DOG),
        "<img>0</img><ref>This</ref><box>(100,100),(300,500)</box> is[[ dog<|endoftext|>]]",
    ),
    "ocr": (
        document(
            "ocr", ImageRef(0), *[Phrase(word, quads=(LINE,), supervised=True) for word in ("SALE", "NOW")]
        ),
        "<img>0</img>OCR with grounding:[[ <ref>SALE</ref><quad>(10,20),(200,24),(200,80),(10,76)</quad>"
        " <ref>NOW</ref><quad>(10,20),(200,24),(200,80),(10,76)</quad><|endoftext|>]]",
    ),
    "text": (document("text", Text("Words.", True)), "[[Words.<|endoftext|>]]"),
    "interleaved": (
        document("interleaved", Text("Before ", True), ImageRef(0), Text("after", True)),
        "[[Before ]]<img>0</img>[[after<|endoftext|>]]",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_template_is_written_to_the_letter(name: str) -> None:
    """Each stage-2 template is the published text, and exactly its target carries loss."""
    one, text = CASES[name]
    assert marked(one) == text


@pytest.mark.parametrize("name", CASES)
def test_a_template_is_told_from_its_text_alone(name: str) -> None:
    """Without task and loss, the text itself says whose template it is and what is taught."""
    one, _ = CASES[name]
    read = parse(render(one).text, [(1000, 500)])
    assert read.task == ("" if name == "interleaved" else one.task)
    first = render(one)
    assert parse(first.text, [(1000, 500)], loss=first.loss, task=first.task).turns == read.turns


def test_styles_change_the_words() -> None:
    """Stage 1 has no prompt, the evaluation scripts another."""
    one = CASES["caption"][0]
    assert marked(one, STAGE1) == "<img>0</img>[[A dog.<|endoftext|>]]"
    assert marked(one, EVALUATION) == "<img>0</img>Describe the image in English:[[ A dog.<|endoftext|>]]"
    for style in (STAGE1, EVALUATION):
        made = render(one, style)
        assert parse(made.text, [(9, 9)], loss=made.loss, task="caption", style=style).turns == one.turns


def test_coordinates_may_be_coarse() -> None:
    """Boxes and quads alike where they are taught, and nothing but their numbers changes."""
    coarse = Style(coarse=100)
    assert marked(CASES["referring"][0], coarse).endswith("[[<box>(100,100),(300,500)</box><|endoftext|>]]")
    assert marked(CASES["grounded_caption"][0], coarse) == marked(CASES["grounded_caption"][0])
    box = document("referring", ImageRef(0), Phrase("dog", ((140, 70, 960, 499),), supervised=True))
    assert "<box>(100,100),(999,999)</box>" in marked(box, coarse)
    assert "(0,0),(200,0),(200,100),(0,100)" in marked(CASES["ocr"][0], coarse)


def test_pictures_may_be_named() -> None:
    """The name of an image's file stands between its tags where names are given, and is read back."""
    one = CASES["caption"][0]
    made = render(one, names=["a <b>/<img>.jpg"])
    assert made.text.startswith(r"<img>a <b>/<\img>.jpg</img>")
    read = parse(made.text, [(9, 9)], loss=made.loss, task=made.task, names=["a <b>/<img>.jpg"])
    assert read.turns == one.turns


@pytest.mark.parametrize(
    "one",
    [
        document("caption", Text("no picture", True)),
        document("caption", ImageRef(0)),
        document("caption", ImageRef(0), Text("not taught")),
        document("caption", ImageRef(0), Text("words before"), Text("taught", True)),
        document("vqa", ImageRef(0), Text("no question", True)),
        document("vqa", ImageRef(0), Text("q"), Text("a", True), Text("more")),
        document("referring", ImageRef(0), DOG, DOG),
        document("referring", ImageRef(0), Phrase("nowhere", supervised=True)),
        document("grounded_caption", ImageRef(0), Phrase("dog", DOG.boxes)),
        document("text", ImageRef(0), Text("words", True)),
    ],
)
def test_a_sample_that_does_not_fit_its_template_is_refused(one: Example) -> None:
    """A template is never bent: the error says what the task's samples must be."""
    with pytest.raises(MarkupError, match=f"an example of task {one.task} must be"):
        render(one)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 9, 9, 5), (9, 5, 5, 9)])
def test_a_box_without_extent_is_refused(box: tuple[float, float, float, float]) -> None:
    """Corners in the wrong order are never written."""
    with pytest.raises(MarkupError, match="top left, bottom right"):
        render(document("chat", ImageRef(0), Phrase("x", (box,))))


def test_regions_need_a_picture() -> None:
    """A box before any image belongs to none."""
    with pytest.raises(MarkupError, match="before any image"):
        render(document("chat", DOG, ImageRef(0)))


def test_a_chat_is_no_document() -> None:
    """Turns of speakers cannot be forced into a template."""
    with pytest.raises(MarkupError, match="one document turn"):
        render(sample((), (Turn("user", ()),)), Style(form="document"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<img>0</img><ref>dog", "unclosed"),
        ("<img>0</img>dog</ref>", "stray"),
        ("<img>7</img>", "image"),
        ("<img>00</img>", "image"),
        ("<ref>dog</ref><box>(1,2),(3,4)</box>", "image"),
        ("<img>0</img><box>(1,2),(3,4</box>", "coordinates"),
        ("<img>0</img><box>(1, 2),(3,4)</box>", "coordinates"),
        ("<img>0</img><box>(1,2),(3,1000)</box>", "range"),
        ("<img>0</img><box>(3,2),(1,4)</box>", "order"),
        ("a<|endoftext|>b", "stray"),
        ("a<imgpad>b", "stray"),
        ("<|im_start|>robot\nhello<|im_end|>\n", "role"),
        ("<|im_start|>user hello<|im_end|>\n", "role"),
        ("<|im_start|>user\nhello", "unclosed"),
        ("<|im_start|>user\nhello<|im_end|>x<|im_start|>", "after_end"),
    ],
)
def test_a_text_that_is_no_markup_is_refused_with_its_place(text: str, kind: str) -> None:
    """The strict reader names the kind of problem and where it is."""
    with pytest.raises(MarkupError) as caught:
        parse(text, [(100, 100)], task="" if "<|im_start|>" not in text else None)
    assert caught.value.problem is not None
    assert caught.value.problem.kind == kind


@pytest.mark.parametrize("task", ["caption", "vqa", "grounding", "referring", "grounded_caption", "ocr"])
def test_a_text_of_another_template_is_refused(task: str) -> None:
    """Asked for a template that the text does not follow, the reader refuses."""
    with pytest.raises(MarkupError, match="does not follow the template"):
        parse("<img>0</img>words", [(100, 100)], task=task)
    with pytest.raises(MarkupError, match="does not follow the template"):
        parse("<img>0</img>words", [(100, 100)], task=task, loss=[(12, 17)])
