"""The contact sheet for a client: everything in one folder, names as text, nothing foreign, nothing overwritten."""

import re
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spotlessd.commands.contact_sheet import contact_sheet
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import PublishError, UnknownJobError
from spotlessd.job import Identity, JobState, Tally
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.database import Database

HOSTILE = "<img src=x onerror=alert(1)>&\"'.tif"
PANEL_HEIGHT, PANEL_WIDTH = 40, 60


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
    config = tmp_path / "spotlessd.toml"
    config.write_text('station_id = "dark"\n[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n')
    return load_settings(config)


def preview() -> Image.Image:
    gap = np.full((PANEL_HEIGHT, 8, 3), 128, np.uint8)
    panels = [np.full((PANEL_HEIGHT, PANEL_WIDTH, 3), value, np.uint8) for value in (40, 200, 0)]
    return Image.fromarray(np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1))


def add(settings: Settings, *rels: str, state: JobState = JobState.DONE, recipe: str = "recipe") -> None:
    """Write frames into the ledger as finished, each with a preview."""
    output = settings.roots[0].output
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        ledger = Ledger(database)
        for rel in rels:
            number = ledger.enqueue(Identity("scans", rel, 1, 2), 3, recipe, time.time())
            assert number is not None
            taken = ledger.claim(number, "me", time.time())
            assert taken is not None
            name = f"previews/{number}.jpg"
            (output / "previews").mkdir(exist_ok=True)
            preview().save(output / name, quality=95)
            outputs = {"preview": name, "image": rel}
            ledger.finish(taken, state, outputs, "abc", {}, time.time(), Tally(3, 0.00125))


def pages(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.html")))


def test_a_sheet_has_a_thumbnail_and_the_whole_preview_of_every_frame(settings: Settings, tmp_path: Path) -> None:
    add(settings, "one.tif", "roll/two.tif")

    answer = contact_sheet(settings, tmp_path / "sheet", title="For Ms Bell")

    assert answer.text == f"2 frames: {tmp_path / 'sheet' / 'index.html'}."
    index = (tmp_path / "sheet" / "index.html").read_text()
    assert "<h1>For Ms Bell</h1>" in index
    assert index.index("one.tif") < index.index("two.tif")
    assert "3 defects · 0.125 % of the frame" in index
    with Image.open(tmp_path / "sheet" / "thumbs" / "00001.jpg") as thumb:
        assert thumb.size == (PANEL_WIDTH, PANEL_HEIGHT)
        assert np.abs(np.asarray(thumb).astype(int) - 200).max() < 12, "the panel with the result"
    with Image.open(tmp_path / "sheet" / "pictures" / "00002.jpg") as picture:
        assert picture.width == 3 * PANEL_WIDTH + 16
    assert not list(tmp_path.glob(".*.part"))


def test_every_address_is_a_file_of_the_sheet(settings: Settings, tmp_path: Path) -> None:
    add(settings, "one.tif", "two.tif", "three.tif")

    contact_sheet(settings, tmp_path / "sheet")

    for page in (tmp_path / "sheet").rglob("*.html"):
        text = page.read_text()
        assert "<script" not in text
        found = re.findall(r'(?:src|href)="([^"]*)"', text)
        assert found
        for address in found:
            assert (page.parent / address).is_file(), address
    for sheet in (tmp_path / "sheet").glob("*.css"):
        assert "url(" not in sheet.read_text()
        assert "@import" not in sheet.read_text()


def test_a_hostile_name_is_shown_as_text_and_names_no_file(settings: Settings, tmp_path: Path) -> None:
    add(settings, HOSTILE)

    contact_sheet(settings, tmp_path / "sheet", title="<b>bold</b>")

    text = pages(tmp_path / "sheet")
    assert "<img src=x" not in text
    assert "<b>" not in text
    assert HOSTILE in unescape(text)
    assert sorted(path.name for path in (tmp_path / "sheet" / "pictures").iterdir()) == ["00001.jpg"]


def test_the_newest_version_is_shown_once_and_companions_and_held_frames_are_not(
    settings: Settings, tmp_path: Path
) -> None:
    add(settings, "one.tif")
    add(settings, "one.tif", recipe="recipe+1")
    add(settings, "one_IR.tif", recipe="companion")
    add(settings, "waits.tif", state=JobState.HELD)

    assert contact_sheet(settings, tmp_path / "done").text.startswith("1 frames")
    assert contact_sheet(settings, tmp_path / "held", state="held").text.startswith("1 frames")

    assert "waits.tif" not in pages(tmp_path / "done")
    assert "waits.tif" in pages(tmp_path / "held")


def test_a_frame_whose_preview_is_gone_is_named_all_the_same(settings: Settings, tmp_path: Path) -> None:
    add(settings, "one.tif", "two.tif")
    next(iter((settings.roots[0].output / "previews").iterdir())).unlink()

    answer = contact_sheet(settings, tmp_path / "sheet")

    assert "1 of them without a picture" in answer.text
    assert "its preview is not there any more" in pages(tmp_path / "sheet")


def test_a_folder_with_something_in_it_is_left_as_it_is(settings: Settings, tmp_path: Path) -> None:
    add(settings, "one.tif")
    target = tmp_path / "sheet"
    target.mkdir()
    (target / "mine.txt").write_text("mine")

    with pytest.raises(PublishError, match="a new or empty folder expected"):
        contact_sheet(settings, target)

    assert [path.name for path in target.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(settings: Settings, tmp_path: Path) -> None:
    add(settings, "one.tif")
    (tmp_path / "sheet").mkdir()

    contact_sheet(settings, tmp_path / "sheet")

    assert (tmp_path / "sheet" / "index.html").is_file()


@pytest.mark.parametrize("words", [{"root": "other"}, {"day": "2001-01-01"}, {"state": "held"}])
def test_where_nothing_is_asked_for_no_folder_is_made(
    settings: Settings, tmp_path: Path, words: dict[str, str]
) -> None:
    add(settings, "one.tif")

    with pytest.raises(UnknownJobError, match=r"no (done|held) scan there"):
        contact_sheet(settings, tmp_path / "sheet", **words)

    assert not (tmp_path / "sheet").exists()


def test_a_day_and_a_root_are_shown_alone(settings: Settings, tmp_path: Path) -> None:
    add(settings, "one.tif")

    answer = contact_sheet(settings, tmp_path / "sheet", root="scans", day=time.strftime("%Y-%m-%d"))

    assert answer.text.startswith("1 frames")
