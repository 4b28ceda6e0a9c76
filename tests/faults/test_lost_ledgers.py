"""Row 15: the ledger is deleted, damaged or put back from a backup; the folder and the receipts still know."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from faults.fault_station import FaultStation, check_invariants

from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.database import Database

PAGE = 4096


def delete(ledger: Path) -> None:
    ledger.unlink()


def delete_all(ledger: Path) -> None:
    for path in ledger.parent.iterdir():
        path.unlink()


def overwrite_header(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        file.write(b"not a database at all")


def tear_page(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xff" * PAGE)


def cut_short(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        file.truncate(ledger.stat().st_size // 2)


def empty(ledger: Path) -> None:
    ledger.write_bytes(b"")


def lose_log(ledger: Path) -> None:
    ledger.with_name(f"{LEDGER_NAME}-wal").unlink(missing_ok=True)


def tear_log(ledger: Path) -> None:
    log = ledger.with_name(f"{LEDGER_NAME}-wal")
    if log.exists():
        with log.open("r+b") as file:
            file.truncate(log.stat().st_size * 2 // 3)


DAMAGES = (delete, delete_all, overwrite_header, tear_page, cut_short, empty, lose_log, tear_log)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("killed_at", ["", "finish.after_commit", "publish.receipt_named"])
def test_a_damaged_ledger_is_rebuilt_and_nothing_is_done_again(
    station: FaultStation, damage: Callable[[Path], None], killed_at: str
) -> None:
    for number in range(2):
        write_fake_scan(station.scans / f"frame{number}.tif", number)
    station.remember_scans()
    assert station.run_inline(crash_at=killed_at)[0] == (137 if killed_at else 0)

    damage(station.state / LEDGER_NAME)
    station.recover()

    check_invariants(station, f"ledger: {damage.__name__}")


def test_a_ledger_put_back_from_a_backup_does_nothing_again(station: FaultStation, tmp_path: Path) -> None:
    write_fake_scan(station.scans / "old.tif")
    assert station.run_inline()[0] == 0
    shutil.copytree(station.state, tmp_path / "backup")
    write_fake_scan(station.scans / "new.tif", 2)
    write_fake_scan(station.scans / "roll" / "new.tif", 3)
    assert station.run_inline()[0] == 0
    station.remember_scans()

    shutil.rmtree(station.state)
    shutil.copytree(tmp_path / "backup", station.state)
    text = station.recover()

    assert "running" not in text
    check_invariants(station, "ledger: from a backup")


def test_a_scan_written_anew_is_done_although_a_receipt_has_its_name(station: FaultStation) -> None:
    write_fake_scan(station.scans / "frame.tif", 1)
    assert station.run_inline()[0] == 0
    delete_all(station.state / LEDGER_NAME)
    write_fake_scan(station.scans / "frame.tif", 2, size=5000)

    assert station.run_inline()[0] == 0

    assert {"frame.tif", "frame~2.tif"} <= set(station.results())


def test_a_damaged_ledger_is_kept_and_a_kill_while_it_is_moved_loses_nothing(station: FaultStation) -> None:
    write_fake_scan(station.scans / "frame.tif")
    station.remember_scans()
    assert station.run_inline()[0] == 0
    overwrite_header(station.state / LEDGER_NAME)

    assert station.run_inline(crash_at="ledger.moved_aside")[0] == 137
    station.recover()

    assert len(list(station.state.glob("*damaged*"))) == 1
    with Database.open(station.state / LEDGER_NAME) as database:
        assert len(Ledger(database).jobs()) == 1
    check_invariants(station, "killed at ledger.moved_aside")
