"""What `vlcorpus status` says of a folder."""

import io
import json
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pipelines.audit import status
from pipelines.files import FileInfo, Store
from pipelines.show.terminal import Terminal
from schemas.errors import InputError
from tests.pipelines.building import build
from tests.pipelines.crawls import build_inline, demo, run_inline


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of three shards."""
    folder = tmp_path_factory.mktemp("status")
    build_inline(demo(folder / "demo", 100, 40), "--out", folder / "corpus", "--max-quarantine", "1")
    return folder / "corpus"


def text(found: status.Status) -> str:
    out = io.StringIO()
    status.show(found, Terminal(file=out, width=200))
    return out.getvalue()


def test_a_finished_corpus(corpus: Path) -> None:
    """Tasks done by phase, rows, and why rows are in quarantine."""
    found = status.read(str(corpus))
    assert (found.running, found.finished, found.rows) == (False, True, 100)
    assert found.tasks["measure"] == 3
    assert found.tasks["select"] == 1
    assert sum(found.quarantined.values()) > 0
    assert found.phase == "card"
    shown = text(found)
    assert "state: finished" in shown
    assert "rows measured: 100" in shown
    for error, count in found.quarantined.items():
        assert f"quarantined: {error}: {count}" in shown


def test_messages_of_quarantined_rows(tmp_path: Path) -> None:
    """Each source's commonest messages, with counts and one row as an example; the rest is a number."""
    wrong: list[object] = [["x"], {"a": 1}, {"a": 2}, "a dog"]
    lines = [json.dumps({"file": "a.png", "caption": caption}) for caption in wrong]
    lines += [json.dumps({"file": "none.png", "caption": "a cat"}), '{"file":']
    for name in ("web", "more"):
        (tmp_path / name).mkdir()
        image = Image.effect_noise((240, 240), 90)
        image.save(tmp_path / name / "a.png")
        (tmp_path / name / "[red]a.jsonl").write_text("\n".join(lines) + "\n")
    sources = [{"id": name, "path": str(tmp_path / name)} for name in ("web", "more")]
    build({"sources": sources, "max_quarantine": 1}, tmp_path / "out")
    found = status.read(str(tmp_path / "out"))
    assert [(loss.source, loss.rows) for loss in found.messages] == [
        ("more", 2),
        ("more", 1),
        ("more", 1),
        ("web", 2),
        ("web", 1),
        ("web", 1),
    ]
    assert found.to_json()["messages"][0] == {
        "source": "more",
        "rows": 2,
        "error": "bad_row",
        "message": "a caption of type dict, not text",
        "example": "[red]a/a#2",
    }
    shown = text(found)
    assert "    web: 2 × bad_row: a caption of type dict, not text (as in [red]a/a#2)\n" in shown
    assert "    2 with other messages\n" in shown
    shutil.rmtree(tmp_path / "out" / "work" / "signals" / "web")
    assert "    6 with other messages\n" in text(status.read(str(tmp_path / "out")))


def test_a_failed_run(corpus: Path, tmp_path: Path) -> None:
    """What ended the last run, and in which phase."""
    own = tmp_path / "corpus"
    shutil.copytree(corpus, own)
    (tmp_path / "r.yaml").write_text(
        yaml.safe_dump({"sources": [{"id": "input", "path": str(tmp_path / "no")}]})
    )
    assert run_inline("build", tmp_path / "r.yaml", "--out", own).returncode == 1
    shown = text(status.read(str(own)))
    assert "last run failed" in shown
    assert str(tmp_path / "no") in shown


def test_an_unfinished_corpus(corpus: Path, tmp_path: Path) -> None:
    """Without a manifest it is not finished, and says how to go on; verdicts count as rows given up."""
    own = tmp_path / "corpus"
    shutil.copytree(corpus, own)
    (own / "manifest.json").unlink()
    (own / "work" / "verdicts" / "input").mkdir(parents=True)
    verdicts = '[{"member": "a", "kind": "crash"}, {"member": "b", "kind": "deadline"}]'
    (own / "work" / "verdicts" / "input" / "00000.json").write_text(verdicts)
    found = status.read(str(own))
    assert not found.finished
    assert found.verdicts == 2
    assert "not finished (last in phase card); run it again to go on" in text(found)


def test_a_corpus_without_work(corpus: Path, tmp_path: Path) -> None:
    """A corpus whose work folder was removed is finished; its rows are those of the manifest."""
    own = tmp_path / "corpus"
    shutil.copytree(corpus, own, ignore=shutil.ignore_patterns("work"))
    found = status.read(str(own))
    assert (found.finished, found.work, found.rows, found.lost) == (True, False, 100, [])
    assert "state: finished" in text(found)
    assert "there is no work folder: the next build measures again" in text(found)


def test_a_corpus_that_lost_files(corpus: Path, tmp_path: Path) -> None:
    """Files that are missing or cut are named, and the state is not finished."""
    own = tmp_path / "corpus"
    shutil.copytree(corpus, own)
    assert status.read(str(own)).lost == []
    tar = min((own / "shards").rglob("*.tar"))
    tar.unlink()
    tar.with_suffix(".parquet").write_bytes(b"")
    names = [path.relative_to(own).as_posix() for path in (tar.with_suffix(".parquet"), tar)]
    assert status.read(str(own)).lost == names
    shown = text(status.read(str(own)))
    assert "state: damaged: 2 files missing or damaged; run it again to mend it" in shown
    assert names[0] in shown


def test_a_link_that_leads_nowhere_is_a_lost_file(corpus: Path, tmp_path: Path) -> None:
    """A card that is a link to nothing is named as lost, and nothing else is."""
    own = tmp_path / "corpus"
    shutil.copytree(corpus, own)
    (own / "README.md").unlink()
    (own / "README.md").symlink_to(own / "nowhere")
    assert status.read(str(own)).lost == ["README.md"]


def test_lost_files_are_looked_for_outside_of_work(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No listing covers the whole corpus, since its work folder may hold millions of files."""
    own = tmp_path / "corpus"
    shutil.copytree(corpus, own)
    listed: list[str] = []
    list_files = Store.list_files

    def counted(store: Store, folder: str) -> tuple[FileInfo, ...]:
        listed.append(folder)
        return list_files(store, folder)

    monkeypatch.setattr(Store, "list_files", counted)
    assert status.read(str(own)).lost == []
    assert str(own / "shards") in listed
    assert not {str(own), str(own / "work")} & set(listed)


def test_no_corpus(tmp_path: Path) -> None:
    """A folder that holds no corpus is a sentence."""
    with pytest.raises(InputError, match=r"holds no corpus"):
        status.read(str(tmp_path))
    with pytest.raises(InputError, match=r"holds no corpus"):
        status.read(str(tmp_path / "missing"))
