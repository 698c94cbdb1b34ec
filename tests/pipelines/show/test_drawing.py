import io
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image as Pictures

from pipelines.show import drawing
from pipelines.show.drawing import WIDTH, Shown, annotate, colour, draw, load_font, scene, taught, view_png
from pipelines.show.page import view_html
from schemas.sample import Example, Image, ImageRef, Phrase, Sample, Segment, Text, Turn
from tests import needs
from tests.pipelines.corpora import alone
from tests.schemas.markup.strategies import sample, samples

SIZE = (400, 200)
RED = (0xD1, 0x24, 0x2F)


def stored(kind: str = "PNG", size: tuple[int, int] = SIZE) -> tuple[Image, bytes]:
    buffer = io.BytesIO()
    Pictures.new("RGB", size, "white").save(buffer, kind)
    return Image(kind, *size, "0" * 64), buffer.getvalue()


def pictured(images: tuple[Image, ...], turns: tuple[Turn, ...], task: str = "chat") -> Sample:
    """A sample of one view."""
    return alone(sample(images, turns, task))


def shown(*segments: Segment, task: str = "grounding", kind: str = "PNG") -> Shown:
    image, data = stored(kind)
    return Shown(pictured((image,), (Turn("document", (ImageRef(0), *segments)),), task), [data])


DOG = Phrase("dog", ((40, 20, 240, 120),), (), True)


def page(tmp_path: Path, *all_shown: Shown) -> str:
    view_html(all_shown, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_phrase_and_its_regions_share_number_and_colour() -> None:
    """Equal words have one colour; regions belong to the picture shown last before them."""
    quad = ((0, 0), (9, 0), (9, 9), (0, 9))
    turns = (
        Turn("user", (ImageRef(0), ImageRef(1), Text("x"))),
        Turn("assistant", (DOG, Phrase("cat", (), (quad,)), Phrase("none"))),
        Turn("user", (ImageRef(0), DOG)),
    )
    drawn = scene(turns)
    assert [[region.number for region in one] for one in drawn.regions] == [[], [1, 2], [1]]
    assert drawn.regions[1][0].colour == drawn.regions[2][0].colour == colour(1) != drawn.regions[1][1].colour
    assert drawn.regions[1][0].corners == ((40, 20), (240, 20), (240, 120), (40, 120))
    assert drawn.number(Phrase("none")) is None


def test_what_is_taught_depends_on_the_task() -> None:
    """Referring teaches regions, grounded captioning words, all else both."""
    assert [taught(task, DOG) for task in ("grounding", "referring", "grounded_caption")] == [
        (True, True),
        (False, True),
        (True, False),
    ]
    assert taught("chat", Phrase("x")) == (False, False)


def test_the_page_marks_what_is_taught(tmp_path: Path) -> None:
    """Supervised words stand in <mark>, others do not, and the markup is shown with its loss."""
    html = page(tmp_path, shown(Text("A ", True), DOG))
    assert "<mark>A </mark>" in html
    assert f'style="color:{colour(1)}' in html
    assert '<polygon points="40,20 240,20 240,120 40,120"' in html
    assert "<mark> A&lt;ref&gt; dog&lt;/ref&gt;&lt;box&gt;(100,100),(600,600)&lt;/box&gt;" in html
    asked = page(tmp_path, shown(Text("Is it?"), Text("yes", True), task="vqa"))
    assert "<span>Is it?</span><mark>yes</mark>" in asked


def test_a_sample_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """Where the markup refuses the sample, the page shows why."""
    html = page(tmp_path, shown(Text("not taught"), task="caption"))
    assert "an example of task caption must be" in html


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(samples())
def test_any_sample_is_a_page_without_script(tmp_path: Path, one: Example) -> None:
    """Whatever words a sample holds, they are shown as words, and nothing is loaded from anywhere."""
    data = [stored(size=(9, 9))[1] for _ in one.images]
    html = page(tmp_path, Shown(alone(one), data))
    assert "<script" not in html
    assert set(re.findall(r'src="([a-z]+:)', html)) <= {"data:"}
    body = html[html.index("<article>") :]
    assert not re.search(r"<(?!/?(article|header|code|span|section|h2|div|figure|img|svg|g|polygon|title|rect|text|"
                         r"figcaption|mark|i|sub|details|summary|pre|body|html)\b)", body)  # fmt: skip


def test_pictures_that_no_browser_reads_are_shown_as_png(tmp_path: Path) -> None:
    """A TIFF is shown; bytes that are no picture leave a grey one."""
    assert "data:image/png;base64," in page(tmp_path, shown(DOG, kind="TIFF"))
    image, _ = stored("TIFF")
    broken = Shown(pictured((image,), (Turn("document", (ImageRef(0), DOG)),)), [b"II*\x00 no"])
    assert "data:image/png;base64," in page(tmp_path, broken)
    assert draw(broken).width == WIDTH


def test_boxes_are_drawn_where_they_are() -> None:
    """The outline passes through the box's corners at the scale of the drawing, and nothing else is touched."""
    drawn = annotate(stored()[1], scene((Turn("user", (ImageRef(0), DOG)),)).regions[0], load_font(None))
    assert drawn.size == SIZE
    for place in ((240, 120), (140, 120), (240, 70), (40, 120)):
        assert drawn.getpixel(place) == RED
    assert {drawn.getpixel(place) for place in ((140, 70), (300, 150), (10, 10))} == {(255, 255, 255)}
    wide = annotate(
        stored(size=(1280, 640))[1], scene((Turn("user", (ImageRef(0), DOG)),)).regions[0], load_font(None)
    )
    assert wide.size == (640, 320)
    assert wide.getpixel((120, 60)) == RED


def test_the_png_holds_all_samples_or_says_how_many_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples stand one below the other; what does not fit is counted."""
    one = shown(Text("A 一只狗 " * 20, True), DOG)
    view_png([one, one], tmp_path / "two.png")
    with Pictures.open(tmp_path / "two.png") as two:
        assert two.size == (WIDTH, 2 * draw(one).height)
    monkeypatch.setattr(drawing, "MAX_HEIGHT", 1000)
    view_png([one] * 9, tmp_path / "many.png")
    with Pictures.open(tmp_path / "many.png") as many:
        assert two.height < many.height < 1100
    view_png([], tmp_path / "none.png")
    again = tmp_path / "again.png"
    view_png([one, one], again)
    assert again.read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_browser_shows_the_boxes_on_the_picture(tmp_path: Path) -> None:
    """In headless Chromium the outline lies where the box is, whatever the picture's EXIF tag says."""
    chromium = needs.chromium()
    buffer = io.BytesIO()
    exif = Pictures.Exif()
    exif[0x0112] = 6
    Pictures.new("RGB", SIZE, (0, 0, 255)).save(buffer, "JPEG", exif=exif)
    turned = Shown(
        pictured((Image("JPEG", *SIZE, "0" * 64),), (Turn("document", (ImageRef(0), DOG)),)),
        [buffer.getvalue()],
    )
    page(tmp_path, turned)
    shot = tmp_path / "shot.png"
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=900,700",
    ]
    command += [
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={shot}",
        (tmp_path / "page.html").as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Pictures.open(shot) as screen:
        pixels = screen.convert("RGB")
    blue = [
        (x, y)
        for x in range(0, 900, 2)
        for y in range(0, 700, 2)
        if _near(pixels.getpixel((x, y)), (0, 0, 255))
    ]
    left, top = min(x for x, _ in blue), min(y for _, y in blue)
    right, bottom = max(x for x, _ in blue), max(y for _, y in blue)
    assert right - left == pytest.approx(398, abs=4)
    assert bottom - top == pytest.approx(198, abs=4)
    for x, y in ((240, 70), (140, 120)):
        around = [
            pixels.getpixel((left + x + dx, top + y + dy)) for dx in range(-3, 4) for dy in range(-3, 4)
        ]
        assert any(_near(one, RED) for one in around)


def _near(pixel: object, wanted: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) < 40 for a, b in zip(pixel, wanted, strict=True))
