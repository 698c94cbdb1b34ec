"""Small inputs that users of such tools reported: what becomes of each record and of each annotation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.sample import Example
from tests.pipelines.building import build, rows
from tests.pipelines.phases.test_ground import samples

Run = Callable[..., Path]


@pytest.fixture
def run(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Builds the recipe of a case as it lies there, in the case's own folder, and returns the corpus."""

    def built(name: str, **source: Any) -> Path:
        monkeypatch.chdir(test_data / "cases" / name)
        recipe = yaml.safe_load(Path("recipe.yaml").read_text(encoding="utf-8"))
        recipe["sources"] = [one | source for one in recipe["sources"]]
        build(recipe, tmp_path / "out")
        return tmp_path / "out"

    return built


def decided(out: Path, source: str | None = None) -> dict[str, str]:
    """Returns by record the reason why it is not kept, or `kept`."""
    found = rows(out, "decisions")
    return {
        row["member"]: row["reason"] or row["decision"] for row in found if source in (None, row["source"])
    }


def reasons_of(out: Path) -> list[tuple[str, str | None]]:
    """Returns each annotation's id and why it is lost; None where it is used."""
    return sorted(
        ((row["id"], row["reason"]) for row in rows(out, "annotations")),
        key=lambda one: (one[0], one[1] or ""),
    )


def shown(view: Example) -> list[str]:
    """Returns what a document shows, one after another: words, and `#` for an image."""
    return [getattr(one, "text", "#") for turn in view.turns for one in turn.segments]


def test_chinese_sets_are_in_chinese(run: Run) -> None:
    """Captions, categories and questions of `languages: [zh]` are kept, and every view of them is `zh`."""
    found = samples(run("coco_cn"))
    assert sorted((one.task, one.language) for one in found) == [
        ("caption", "zh"),
        ("grounded_caption", "zh"),
        ("referring", "zh"),
        ("vqa", "zh"),
    ]


def test_one_bad_box_of_coco_does_not_take_the_image_s_good_ones(run: Run) -> None:
    """Crowd, empty, tiny, outside, of no category, of no image: each object has its own line, the others are kept."""
    out = run("coco_quirks2")
    lost = {
        "3": "crowd",
        "4": "crowd",
        "5": "box_degenerate",
        "6": "box_grid",
        "10": "image_size",
        "11": "image_size",
        "14": "missing_image",
        "15": "box_grid",
        "16": "unknown_image",
        "17": "unknown_annotation",
    }
    kept = [(str(number), None) for number in (1, 2, 7, 8, 9, 12, 13)]
    assert reasons_of(out) == sorted(
        [*lost.items(), *kept, ("9", "box_outside")], key=lambda one: (one[0], one[1] or "")
    )
    boxes = {
        (one.id, phrase.phrase): phrase.boxes for one in samples(out, "referring") for phrase in one.phrases
    }
    assert boxes["1", "block"] == ((100, 100, 300, 300), (400, 50, 600, 250))
    # the same block, drawn before the image was turned and after it
    assert boxes["5", "block"] == boxes["6", "block"] == ((180, 100, 380, 300),)


def test_a_document_is_kept_without_its_dead_image(run: Run) -> None:
    """What is left keeps its order; the dead image is in the ledger; a document of dead images alone goes."""
    out = run("interleaved")
    assert decided(out, "mmc4") == {
        "0": "kept",
        "1": "kept",
        "2": "missing_image",
        "3": "kept",
        "4": "no_images",
    }
    assert decided(out, "obelics") == {"0": "kept", "1": "kept", "2": "no_images"}
    assert ("http://x.org/dead.jpg", "missing_image") in reasons_of(out)
    assert reasons_of(out).count(("dead.jpg", "missing_image")) == 2
    texts = [shown(one) for one in samples(out)]
    assert ["A.\nB.\n", "#"] in texts
    assert ["#", "One.\nTwo."] in texts


def test_grit_is_read_as_published(run: Run) -> None:
    """Parquet over files of img2dataset: the caption with its chunks, and the overlapping expression in the ledger."""
    out = run("grit_parquet")
    (view,) = samples(out, "grounding")
    assert [phrase.phrase for phrase in view.phrases] == ["a dog", "a field"]
    assert reasons_of(out) == [("noun_chunks-0", None), ("noun_chunks-1", None), ("ref_exps-0", "overlap")]


@pytest.mark.parametrize("path", ["./ai2d/questions", "./ai2d/questions/*.json"])
def test_ai2d_is_read_diagram_by_diagram(run: Run, path: str) -> None:
    """A folder and a glob of one file a diagram; of questions on letters, the image with letters in place of words."""
    found = {one.id: one for one in samples(run("ai2d_folder", path=path))}
    assert sorted(found) == ["0-1", "0-2", "1-1"]
    assert all(one.task == "vqa" for one in found.values())


def test_qwen_json_is_read_or_its_format_is_named(run: Run) -> None:
    """Markup of Qwen-VL is never taught as words: as `conversations` the sentence names the format that reads it."""
    out = run("qwen_json")
    assert decided(out) == {"record-0": "kept", "record-1": "foreign_markup", "record-2": "foreign_markup"}
    assert all("say format: qwen" in row["detail"] for row in rows(out, "decisions") if row["detail"])


def test_qwen_json_has_images_and_boxes_as_qwen(run: Run) -> None:
    """With its own format each dialogue is kept with its image."""
    out = run("qwen_json", format="qwen")
    assert {*decided(out).values()} == {"kept"}
    assert sum(len(one.images) for one in samples(out)) >= 2
    assert any(phrase.boxes for one in samples(out) for phrase in one.phrases)


@pytest.mark.parametrize("case", ["messages", "jsonl_as_json"])
def test_published_dialogues_are_read(run: Run, case: str) -> None:
    """ms-swift's messages, query and response, alpaca, system; as a list's format too. No markup is taught as words."""
    out = run(case)
    assert [*decided(out).values()] == ["kept"] * 7 + ["foreign_markup"] * 4
    views = samples(out)
    assert not any("<bbox>" in one.text or "<ref-object>" in one.text for one in views)
    assert ((100, 100, 300, 300), (400, 50, 600, 250)) in [
        phrase.boxes for one in views for phrase in one.phrases
    ]
    assert "Be brief." in [shown(one)[0] for one in views]


def test_a_llava_mix_is_read_record_by_record(run: Run) -> None:
    """Ids repeat, and each record of theirs is kept; a system key is a turn; video is a reason."""
    out = run("llava_mix")
    found = decided(out)
    assert len(found) == 31
    assert [found[f"record-{number}"] for number in range(3)] == ["kept"] * 3
    assert found["record-25"] == "other_media"
    assert "Answer briefly." in [shown(one)[0] for one in samples(out)]
    assert [one.id for one in samples(out)].count("000000000009") == 3


def test_a_list_is_no_json_lines(run: Run, test_data: Path, tmp_path: Path) -> None:
    """The sentence on a list read as JSON lines names the format that reads it; and that does."""
    folder = test_data / "cases/json_as_jsonl"
    source = {"id": "m", "kind": "annotations", "format": "conversations_lines"}
    files = {"path": str(folder / "llava.json"), "images": str(folder / "img")}
    results, _ = build({"sources": [source | files]}, tmp_path / "lines")
    assert "say format: conversations" in str([receipt["damaged"] for receipt in results["measure"].values()])
    assert "kept" in decided(run("json_as_jsonl", format="conversations")).values()


def test_a_page_whose_text_cannot_be_the_image_s_is_dropped(run: Run) -> None:
    """Glyphs without characters drop a PDF's page by name; the good page of the same image is kept, in its language."""
    out = run("pdf")
    found = decided(out)
    assert found["cid_notounicode-p00000"] == found["dj_notounicode-p00000"] == "unreadable_text"
    assert found["zh-p00000"] == found["ligature-p00000"] == "kept"
    by_words = {one.text: one.language for one in samples(out)}
    assert "und" not in by_words.values()
    (chinese,) = [language for words, language in by_words.items() if "这是一页中文文件" in words]
    assert chinese == "zh"
    assert any("The first office floor was ff efficient." in words for words in by_words)
