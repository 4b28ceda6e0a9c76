"""Masks laid into masks/edited/: real daemons whose worker decodes and has no networks, killed at every step."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from daemon_station import Station
from drawing import write_scan
from PIL import Image

from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

HEIGHT, WIDTH = 40, 60


class DecodingStation(Station):
    program = "decoding_workers.py"
    loader = "load_decoder"

    @property
    def edited(self) -> Path:
        return self.restored / "masks" / "edited"

    def jobs(self) -> list[Job]:
        with Database.open(self.state / LEDGER_NAME) as database:
            return Ledger(database).jobs()

    def drop(self, rel: str, seed: int = 1, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
        """Lay a mask there, old enough to be settled."""
        path = self.edited / rel
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).random(size) > 0.9
        Image.fromarray(pixels.astype(np.uint8) * 255).save(path, "PNG")
        old = time.time() - 3600
        os.utime(path, (old, old))
        return path

    def run(self, crash_at: str = "") -> str:
        code, text = self.run_once(crash_at=crash_at)
        assert code == (137 if crash_at else 0), text
        return text


@pytest.fixture
def station(tmp_path: Path) -> Iterator[DecodingStation]:
    found = DecodingStation(tmp_path)
    for rel in ("frame.tif", "roll/other.tif"):
        path = found.scans / rel
        path.parent.mkdir(exist_ok=True)
        write_scan(path, HEIGHT, WIDTH, specks=0)
        old = time.time() - 3600
        os.utime(path, (old, old))
    found.run()
    yield found
    found.close()


def test_a_mask_laid_there_makes_a_new_version_based_on_the_newest_and_is_moved_away(station: DecodingStation) -> None:
    mask = station.drop("roll/other.png")
    content = mask.read_bytes()

    station.run()

    job = station.jobs()[-1]
    assert (job.identity.rel, job.state) == ("roll/other.tif", JobState.DONE)
    assert job.outputs["image"] == "roll/other~2.tif"
    assert job.overrides.mask is not None
    assert job.overrides.mask.read_bytes() == content
    assert job.overrides.base is not None
    assert job.overrides.base.name == "roll/other.tif"
    assert {name: job.overrides.decision[name] for name in ("choice", "by", "via")} == {
        "choice": "edited",
        "by": "person",
        "via": "edited mask",
    }
    assert not mask.exists()
    assert (station.edited / "taken" / "roll" / "other.png").read_bytes() == content


def test_a_mask_named_like_a_version_is_an_edit_of_that_version(station: DecodingStation) -> None:
    for seed in (1, 2):
        station.drop("frame.png", seed)
        station.run()

    station.drop("frame~2.png", 3)
    station.run()

    bases = [job.overrides.base.name for job in station.jobs() if job.overrides.base is not None]
    assert bases == ["frame.tif", "frame~2.tif", "frame~2.tif"]
    assert sorted(path.name for path in (station.edited / "taken").glob("*.png")) == [
        "frame.png",
        "frame~2.png",
        "frame~2~2.png",
    ]


@pytest.mark.parametrize("point", ["edited.noted", "edited.submitted", "edited.moved"])
def test_killed_anywhere_the_mask_makes_exactly_one_version(station: DecodingStation, point: str) -> None:
    station.drop("frame.png")

    station.run(crash_at=point)
    station.run()
    station.run()

    assert sorted(path.name for path in station.restored.glob("frame*.tif")) == ["frame.tif", "frame~2.tif"]
    assert not list(station.edited.glob("*.png"))
    assert [path.name for path in (station.edited / "taken").glob("*.png")] == ["frame.png"]


@pytest.mark.parametrize(
    ("rel", "size", "sentence"),
    [
        ("frame.png", (HEIGHT, WIDTH + 1), "61×40"),
        ("stranger.png", (HEIGHT, WIDTH), "no finished scan has a mask of this name"),
        ("frame.jpg", (HEIGHT, WIDTH), "a PNG or TIFF mask expected"),
    ],
)
def test_a_mask_that_does_not_fit_stays_is_told_once_and_shown_in_the_status(
    station: DecodingStation, rel: str, size: tuple[int, int], sentence: str
) -> None:
    mask = station.drop(rel, size=size)

    text = station.run()

    assert mask.exists()
    assert text.count("is not taken") == 1
    assert sentence in text
    with Database.open(station.state / LEDGER_NAME) as database:
        waiting = Board(database).waiting()
    assert [(file.rel, sentence in file.reason) for file in waiting] == [(f"masks/edited/{rel}", True)]
    assert len(station.jobs()) == 2


def test_a_file_that_is_no_picture_is_no_mask(station: DecodingStation) -> None:
    mask = station.drop("frame.png")
    mask.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")

    text = station.run()

    assert mask.exists()
    assert "is not taken" in text
    assert len(station.jobs()) == 2


def test_a_mask_that_was_corrected_is_taken_by_the_running_daemon(station: DecodingStation) -> None:
    station.start(station.loader, is_logged=True)
    station.drop("frame.png", size=(HEIGHT, WIDTH + 1))
    station.wait_for(lambda: any("edited" in file.reason for file in read_status(station.state, time.time()).waiting))

    station.drop("frame.png")
    station.wait_for((station.restored / "frame~2.tif").exists)

    station.wait_for(lambda: not read_status(station.state, time.time()).waiting)
    assert (station.edited / "taken" / "frame.png").exists()


def test_a_published_mask_of_a_scan_in_a_folder_called_edited_is_not_taken_for_a_persons(
    station: DecodingStation,
) -> None:
    scan = station.scans / "edited" / "late.tif"
    scan.parent.mkdir()
    write_scan(scan, HEIGHT, WIDTH, specks=0)
    os.utime(scan, (1.6e9, 1.6e9))
    station.run()
    published = station.restored / "masks" / "edited" / "late.png"
    assert published.exists()

    text = station.run()

    assert published.exists()
    assert "not taken" not in text
    assert len(station.jobs()) == 3


def test_a_name_that_is_taken_already_is_not_overwritten(station: DecodingStation) -> None:
    for seed in (1, 2):
        station.drop("frame.png", seed)
        station.run()

    taken = {path.name: path.read_bytes() for path in (station.edited / "taken").iterdir()}
    assert sorted(taken) == ["frame.png", "frame~2.png"]
    assert taken["frame.png"] != taken["frame~2.png"]


def test_the_receipt_tells_that_the_mask_came_by_a_file(station: DecodingStation) -> None:
    station.drop("frame.png")

    station.run()

    receipt = json.loads((station.restored / "receipts" / "frame~2.json").read_text())
    assert "+mask-" in receipt["station"]["recipe"]
