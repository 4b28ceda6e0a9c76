"""Row 13: the ladder for want of memory, with the core's pipeline in a real worker: smaller tiles, CPU, held."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawing import write_scan
from faults.fault_station import TRIED, FaultStation
from faults.short_memory_daemon import LIMIT_VARIABLE, MODELS_VARIABLE

from spotlessd import cli
from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.database import Database

TILE_PX = 512
REL = "frame.tif"


class ShortStation(FaultStation):
    """A station whose device has too little memory for a whole tile."""

    program = "faults/short_memory_daemon.py"
    loader = "load_short_of_memory"

    def job(self) -> Job:
        with Database.open(self.state / LEDGER_NAME) as database:
            return Ledger(database).jobs_of("scans", REL)[0]

    def told(self, *words: str) -> int:
        return cli.main([words[0], "--config", str(self.config), *words[1:]])


@pytest.fixture
def short(tmp_path: Path, bright_spot_models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShortStation]:
    station = ShortStation(tmp_path / "station")
    station.config.write_text(
        station.config.read_text()
        + f'[detect]\ntile_px = {TILE_PX}\nstride_px = {TILE_PX // 2}\n[inpaint]\nmethod = "telea"\n'
        + '[mask]\nmax_coverage = 0.2\n[device]\ndevice = "auto"\nthreads = 1\nallow_fallback = false\n'
    )
    write_scan(station.scans / REL, TILE_PX + 40, TILE_PX + 60)
    os.utime(station.scans / REL, (0, 0))
    monkeypatch.setenv(MODELS_VARIABLE, str(bright_spot_models))
    yield station
    station.close()


def allow_cpu(station: ShortStation) -> None:
    text = station.config.read_text()
    station.config.write_text(text.replace("allow_fallback = false", "allow_fallback = true"))


def receipt(station: ShortStation) -> dict:  # type: ignore[type-arg]
    return json.loads((station.restored / "receipts" / "frame.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_frame_too_large_for_the_device_is_done_there_with_smaller_tiles(
    short: ShortStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, str(TILE_PX // 2))

    code, text = short.run_once()

    assert code == 0, text
    assert (short.job().attempt, short.job().shortages, short.job().strikes) == (2, 1, 0)
    assert receipt(short)["device"] == "cuda"
    TRIED["device memory, real worker: tiles"] += 1


def test_a_frame_for_which_no_tile_is_small_enough_is_done_on_the_cpu(
    short: ShortStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    allow_cpu(short)

    code, text = short.run_once()

    assert code == 0, text
    assert (short.job().attempt, short.job().shortages, short.job().strikes) == (3, 2, 0)
    assert receipt(short)["device"] == "cpu"
    assert receipt(short)["defects"]
    TRIED["device memory, real worker: CPU"] += 1


def test_a_frame_that_is_held_for_want_of_memory_says_what_was_tried_and_what_to_do(
    short: ShortStation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "0")

    code, text = short.run_once()
    assert code == 0, text
    assert short.job().state is JobState.HELD
    short.told("status")
    status = capsys.readouterr().out
    short.told("show", REL)
    shown = capsys.readouterr().out

    assert "held for a person to look at: spotlessd list --state held" in status
    assert "too little memory in 2 attempts, with smaller tiles too" in shown
    assert "Set detect.tile_px lower" in shown
    assert f"spotlessd reprocess {REL}" in shown
    assert f"out of memory on a {TILE_PX // 2}×{TILE_PX // 2} tile" in shown
    assert "short of memory 2" in shown
    assert short.told("reprocess", REL) == 0
    TRIED["device memory, real worker: held"] += 1
