"""Conversations."""

import io
from pathlib import Path

import pytest
from PIL import Image

from model import chat as chatting
from model import checkpoint
from model.chat import Chat, chat
from model.generate import Prompt
from model.qwen_vl import build
from schemas.errors import InputError, RecipeError
from tests.model.corpora import TINY, picture, tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model, and two images beside it."""
    checkpoint.save(tmp_path / "model", TINY, build(TINY, 1).state_dict(), tokenizer())
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(picture(number)[0])
    return tmp_path


def _says(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[Prompt]:
    """Puts words into the model's mouth, and keeps what it was asked."""
    own = tokenizer()
    asked: list[Prompt] = []

    def answers(model: object, prompts: list[Prompt], *rest: object) -> list[list[int]]:
        asked.extend(prompts)
        ids: list[int] = []
        for part in answer.replace("<", "\n<").replace(">", ">\n").split("\n"):
            ids += [own.ids[part]] if part in own.ids else own.encode(part)
        return [ids]

    monkeypatch.setattr(chatting, "generate", answers)
    return asked


def test_rounds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several images and rounds stand in one prompt as ChatML, images numbered in order."""
    asked = _says(monkeypatch, "It is<ref> red</ref><box>(100,100),(500,500)</box>")
    model, own = checkpoint.from_pretrained(folder / "model")
    talk = Chat(model, own, 16)
    talk.show(picture(0)[0])
    talk.ask("What is it?")
    talk.show(picture(1)[0])
    talk.ask("And this?")
    text = own.decode(asked[1].ids).replace("<imgpad>", "")
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nPicture 1: <img></img>\nWhat is it?<|im_end|>\n"
        "<|im_start|>assistant\nIt is<ref> red</ref><box>(100,100),(500,500)</box><|im_end|>\n"
        "<|im_start|>user\nPicture 2: <img></img>\nAnd this?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert len(asked[1].images) == 2
    talk.reset()
    talk.ask("Hello")
    assert asked[2].images == ()


def test_boxes_drawn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer with boxes is drawn to a file of the image's size."""
    _says(monkeypatch, "<ref>red</ref><box>(100,100),(500,500)</box>")
    said = io.StringIO()
    out = folder / "answer.png"
    chat(folder / "model", [folder / "0.png"], out, device="cpu", lines=["Where is red?"], to=said)
    assert "1 regions drawn to" in said.getvalue()
    with Image.open(out) as drawn, Image.open(folder / "0.png") as before:
        assert drawn.size == before.size == (64, 48)
        assert drawn.getpixel((6, 20)) != before.convert("RGB").getpixel((6, 20))


def test_a_real_answer(folder: Path) -> None:
    """A model that knows nothing answers something, and mistakes are sentences."""
    said = io.StringIO()
    lines = [
        "hello",
        "/image nowhere.png",
        f"/image {folder / '1.png'}",
        "/what",
        "see?",
        "/reset",
        "/quit",
        "no",
    ]
    chat(folder / "model", [], folder / "answer.png", device="cpu", lines=lines, to=said)
    text = said.getvalue()
    assert "nowhere.png is no image" in text
    assert "image 1 is seen" in text
    assert "forgotten" in text
    assert text.count(chatting.HELP) == 2


def test_too_long(folder: Path) -> None:
    """A conversation beyond the context says so and can go on anew."""
    said = io.StringIO()
    chat(folder / "model", [], folder / "a.png", device="cpu", lines=["word " * 400, "/reset", "hi"], to=said)
    assert "start anew with /reset" in said.getvalue()


@pytest.mark.parametrize("name", ["answer.txt", "nowhere/answer.png"])
def test_boxes_have_somewhere_to_go(folder: Path, name: str) -> None:
    """A file that no image can be drawn to is refused before the talk."""
    with pytest.raises(InputError, match=r"for the boxes|name a \.png"):
        chat(folder / "model", out=folder / name, lines=[])


def test_a_name_that_is_none(folder: Path) -> None:
    """A name too long for the system, or a file that is no image, is a sentence; the talk goes on."""
    (folder / "text.png").write_text("no picture")
    said = io.StringIO()
    lines = [f"/image {'x' * 300}.png", f"/image {folder / 'text.png'}", "/reset"]
    chat(folder / "model", out=folder / "answer.png", lines=lines, to=said)
    _, long, text, last = said.getvalue().splitlines()
    assert long.startswith("error: ")
    assert text.endswith("cannot be read as an image: it is of no known format")
    assert last == "forgotten"


@pytest.mark.parametrize("name", ["pictures.json", "tokenizer.json", "tokenizer_layout.json"])
def test_a_damaged_model_is_a_sentence(folder: Path, name: str) -> None:
    """What a saved model's small files hold is not taken on trust."""
    (folder / "model" / name).write_text("{")
    with pytest.raises((InputError, RecipeError), match="damaged"):
        chat(folder / "model", out=folder / "answer.png", lines=[])
