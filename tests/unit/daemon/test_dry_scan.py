"""`scan --dry-run` tells what would become of each file, and changes nothing."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from spotlessd.cli import main
from spotlessd.commands import dry_scan
from spotlessd.commands.setup_commands import dry_scan as run_dry_scan
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.folders.file_checks import WriterState
from spotlessd.folders.mount_memory import LIES_ON_KEY
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import Identity
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database
from spotlessd.station import init_station


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(init_station(tmp_path / "station"))


def draw_scan(path: Path, *, age: float = 3600) -> Path:
    noise = np.random.default_rng(1).integers(1, 65535, (40, 60, 3), np.uint16)
    tifffile.imwrite(path, noise, photometric="rgb")
    made_old(path, age)
    return path


def made_old(path: Path, age: float = 3600) -> None:
    then = time.time() - age
    os.utime(path, (then, then))


def verdicts(settings: Settings) -> dict[str, tuple[str, str]]:
    found = json.loads(run_dry_scan(settings, as_json=True).text)
    return {each["rel"]: (each["verdict"], each["note"]) for each in found}


def test_each_file_gets_its_verdict(settings: Settings) -> None:
    scans = settings.roots[0].input
    draw_scan(scans / "new.tif")
    draw_scan(scans / "new_ir.tif")
    draw_scan(scans / "young.tif", age=0)
    whole = draw_scan(scans / "half.tif").read_bytes()
    (scans / "half.tif").write_bytes(whole[: len(whole) // 2])
    (scans / "text.tif").write_text("no scan at all, but of that name")
    for name in ("half.tif", "text.tif"):
        made_old(scans / name)

    found = verdicts(settings)

    assert {rel: verdict for rel, (verdict, _) in found.items()} == {
        "new.tif": dry_scan.NEW,
        "new_ir.tif": dry_scan.BESIDE,
        "young.tif": dry_scan.WAITS,
        "half.tif": dry_scan.WAITS,
        "text.tif": dry_scan.REFUSED,
    }
    assert "not complete yet" in found["half.tif"][1]
    assert found["text.tif"][1]


def test_a_scan_that_has_a_job_is_known_with_its_state_and_reason(settings: Settings) -> None:
    scan = draw_scan(settings.roots[0].input / "a.tif")
    facts = scan.stat()
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        identity = Identity("scans", "a.tif", facts.st_size, facts.st_mtime_ns)
        Ledger(database).refuse(identity, 1, "r", "it is damaged.", 1.0)

    assert verdicts(settings)["a.tif"] == (dry_scan.KNOWN, "job 1, quarantined: it is damaged.")


def test_a_file_that_is_being_written_waits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_scan(settings.roots[0].input / "a.tif")
    monkeypatch.setattr(dry_scan, "is_open_for_writing", lambda path, is_network: WriterState.OPEN)

    assert verdicts(settings)["a.tif"] == (dry_scan.WAITS, "a program has it open for writing")


def test_a_folder_that_is_away_is_told(settings: Settings) -> None:
    (settings.roots[0].input / MARKER_NAME).unlink()

    assert verdicts(settings)[""][0] == dry_scan.AWAY


def test_nothing_is_written_anywhere(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    draw_scan(settings.roots[0].input / "a.tif")
    folder = settings.config_path.parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    code = main(["scan", "--dry-run", "--config", str(settings.config_path)])

    assert code == 0
    assert "a.tif: would be restored: " in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_folder_whose_mount_is_gone_is_away_here_too(settings: Settings) -> None:
    folder = settings.roots[0].input
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        Board(database).note(LIES_ON_KEY.format(folder), json.dumps({"point": str(folder), "kind": "cifs"}))

    found = verdicts(settings)

    assert found[""][0] == dry_scan.AWAY
    assert "it lay on cifs mounted at" in found[""][1]
