"""Infrared sidecars and metadata beside scans, with real daemons: in every order, through kills, by the hundred."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_station import Station
from fake_workers import restored_bytes, write_fake_scan

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

CRASH_POINTS = (
    "enqueue.after_commit",
    "claim.after_commit",
    "companion.copied",
    "publish.parts_synced",
    "publish.planned",
    "publish.image_named",
    "publish.infrared_sidecar_named",
    "publish.companion_named",
    "publish.mask_named",
    "publish.preview_named",
    "publish.folders_synced",
    "publish.receipt_named",
    "publish.all_synced",
    "companion.noted",
    "finish.after_commit",
)
LATE_CRASH_POINTS = (
    "claim.after_commit",
    "publish.parts_synced",
    "publish.planned",
    "publish.infrared_sidecar_named",
    "publish.folders_synced",
    "publish.receipt_named",
    "publish.all_synced",
    "finish.after_commit",
)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path)
    yield made
    made.close()


def write_pair(folder: Path, stem: str = "frame", ending: str = "_IR.tif", suffix: str = ".tif") -> tuple[Path, Path]:
    scan = write_fake_scan(folder / f"{stem}{suffix}", 1)
    return scan, write_fake_scan(folder / f"{stem}{ending}", 2, size=1500)


def expected_result(scan: Path, *companions: Path) -> dict[str, bytes]:
    return {
        scan.name: restored_bytes(scan),
        f"masks/{scan.stem}.png": b"MASK " + scan.read_bytes()[:100],
        f"previews/{scan.stem}.jpg": b"PREVIEW normal",
        **{companion.name: companion.read_bytes() for companion in companions},
    }


def receipt(station: Station, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((station.restored / "receipts" / name).read_text())
    return values


def set_watch(station: Station, line: str) -> None:
    station.config.write_text(station.config.read_text().replace("[watch]", f"[watch]\n{line}"))


def start(station: Station) -> None:
    station.start()
    station.wait_for(lambda: read_status(station.state, time.time()).is_running)


def test_a_sidecar_and_metadata_are_copied_beside_the_result_and_told_in_the_receipt(station: Station) -> None:
    scan, sidecar = write_pair(station.scans)
    metadata = station.scans / "frame.xmp"
    metadata.write_text("<x:xmpmeta/>")
    inputs = station.input_hashes()

    code, text = station.run_once()

    assert code == 0, text
    assert station.results() == expected_result(scan, sidecar, metadata)
    told = receipt(station, "frame.json")
    assert [(fact["role"], fact["name"]) for fact in told["input"]["companions"]] == [
        ("companion", "frame.xmp"),
        ("infrared_sidecar", "frame_IR.tif"),
    ]
    assert told["outputs"]["infrared_sidecar"]["sha256"] == inputs["frame_IR.tif"]
    assert station.states()["frame_IR.tif"] is JobState.DONE
    station.check_promises(inputs)


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_daemon_killed_at_any_step_publishes_scan_and_companions_once(station: Station, point: str) -> None:
    scan, sidecar = write_pair(station.scans)
    metadata = station.scans / "frame.xmp"
    metadata.write_text("<x:xmpmeta/>")
    os.utime(metadata, (0, 0))
    inputs = station.input_hashes()

    code, text = station.run_once(crash_at=point)
    assert code == 137, text
    code, text = station.run_once()

    assert code == 0, text
    assert station.results() == expected_result(scan, sidecar, metadata)
    assert set(station.states().values()) == {JobState.DONE}
    assert [path.name for path in (station.restored / "receipts").iterdir()] == ["frame.json"]
    station.check_promises(inputs)


@pytest.mark.parametrize("point", LATE_CRASH_POINTS)
def test_a_daemon_killed_while_a_late_sidecar_is_published_publishes_it_once(station: Station, point: str) -> None:
    scan = write_fake_scan(station.scans / "frame.tif")
    station.run_once()
    sidecar = write_fake_scan(station.scans / "frame_IR.tif", 2)
    inputs = station.input_hashes()

    code, text = station.run_once(crash_at=point)
    assert code == 137, text
    code, text = station.run_once()

    assert code == 0, text
    assert station.results() == expected_result(scan, sidecar)
    assert receipt(station, "frame_IR.json")["companion_of"] == "frame.tif"
    station.check_promises(inputs)


def test_without_hard_links_a_kill_between_two_names_publishes_the_pair_once(station: Station) -> None:
    scan, sidecar = write_pair(station.scans)

    code, text = station.run_once("--no-links", crash_at="publish.image_named")
    assert code == 137, text
    code, text = station.run_once("--no-links")

    assert code == 0, text
    assert station.results() == expected_result(scan, sidecar)


def test_a_sidecar_that_comes_first_waits_for_its_scan_and_goes_with_it(station: Station) -> None:
    start(station)
    sidecar = write_fake_scan(station.scans / "frame_IR.tif", 2)
    station.wait_for(
        lambda: any("not here yet" in file.reason for file in read_status(station.state, time.time()).waiting)
    )

    scan = write_fake_scan(station.scans / "frame.tif")
    station.wait_for_states({"frame.tif": JobState.DONE, "frame_IR.tif": JobState.DONE})

    assert station.results() == expected_result(scan, sidecar)
    assert "infrared_sidecar" in receipt(station, "frame.json")["outputs"]


def test_a_sidecar_that_comes_after_its_scan_was_published_is_put_beside_the_result(station: Station) -> None:
    start(station)
    scan = write_fake_scan(station.scans / "frame.tif")
    station.wait_for_states({"frame.tif": JobState.DONE})

    sidecar = write_fake_scan(station.scans / "frame_IR.tif", 2)
    station.wait_for_states({"frame.tif": JobState.DONE, "frame_IR.tif": JobState.DONE})

    assert station.results() == expected_result(scan, sidecar)
    station.check_promises(station.input_hashes())


def test_a_scan_waits_while_its_sidecar_grows(station: Station) -> None:
    whole = write_fake_scan(station.folder / "whole.tif", 2).read_bytes()
    sidecar = station.scans / "frame_IR.tif"
    sidecar.write_bytes(whole[:1000])
    scan = write_fake_scan(station.scans / "frame.tif")
    start(station)
    station.wait_for(
        lambda: any("goes with it" in file.reason for file in read_status(station.state, time.time()).waiting)
    )
    results_while_growing = station.results()

    with sidecar.open("ab") as file:
        file.write(whole[1000:])
    station.wait_for_states({"frame.tif": JobState.DONE, "frame_IR.tif": JobState.DONE})

    assert results_while_growing == {}
    assert station.results() == expected_result(scan, sidecar)


def test_a_sidecar_that_stays_cut_short_does_not_hold_its_scan_for_ever(station: Station) -> None:
    scan = write_fake_scan(station.scans / "frame.tif")
    sidecar = station.scans / "frame_IR.tif"
    sidecar.write_bytes(write_fake_scan(station.folder / "whole.tif", 2).read_bytes()[:1000])

    code, text = station.run_once()

    assert code == 0, text
    assert station.results() == expected_result(scan, sidecar)
    assert any("header cannot be read" in note for note in receipt(station, "frame.json")["notes"])


def test_a_lone_sidecar_is_set_aside_with_a_sentence_and_goes_with_its_scan_after_all(station: Station) -> None:
    set_watch(station, "sidecar_seconds = 0.5")
    sidecar = write_fake_scan(station.scans / "frame_IR.tif", 2)
    start(station)
    station.wait_for_states({"frame_IR.tif": JobState.QUARANTINED})
    with Database.open(station.state / LEDGER_NAME) as database:
        reason = Ledger(database).jobs()[0].reason

    scan = write_fake_scan(station.scans / "frame.tif")
    station.wait_for_states({"frame_IR.tif": JobState.DONE, "frame.tif": JobState.DONE})

    assert "spotlessd reprocess" in reason
    assert station.results() == expected_result(scan, sidecar)


def test_a_pair_that_is_scanned_again_gets_the_next_name_together(station: Station) -> None:
    first, _ = write_pair(station.scans)
    station.run_once()
    before = station.results()
    first.write_bytes(write_fake_scan(station.folder / "other.tif", 7).read_bytes())
    sidecar = write_fake_scan(station.scans / "frame_IR.tif", 8, size=1600)

    code, text = station.run_once()

    assert code == 0, text
    results = station.results()
    assert {name: results[name] for name in before} == before
    assert results["frame~2.tif"] == restored_bytes(first)
    assert results["frame~2_IR.tif"] == sidecar.read_bytes()
    assert not [name for name in results if name.startswith("frame_IR~")]


@pytest.mark.parametrize(
    ("stem", "suffix", "ending"),
    [
        ("Roll 3 – Ä ß", ".tif", "_IR.tif"),
        ("FRAME", ".TIF", "_ir.TIFF"),
        ("frame.01", ".Tiff", "-IR.tif"),
    ],
)
def test_spaces_accents_and_upper_case_keep_their_spelling(
    station: Station, stem: str, suffix: str, ending: str
) -> None:
    set_watch(station, "rescan_seconds = 2")
    station.config.write_text(station.config.read_text().replace("rescan_seconds = 1\n", ""))
    scan, sidecar = write_pair(station.scans, stem, ending, suffix)

    code, text = station.run_once()

    assert code == 0, text
    assert station.results() == expected_result(scan, sidecar)


def test_a_held_frame_takes_no_sidecar_along_and_waits_with_it(station: Station) -> None:
    write_pair(station.scans, "held frame")

    codes = [station.run_once()[0], station.run_once()[0]]

    assert codes == [0, 0]
    assert set(station.results()) == {"masks/held frame.png", "previews/held frame.jpg"}
    assert station.states() == {"held frame.tif": JobState.HELD}


def test_a_deleted_ledger_knows_pairs_and_late_sidecars_from_their_receipts(station: Station) -> None:
    write_pair(station.scans, "pair")
    write_fake_scan(station.scans / "late.tif")
    station.run_once()
    write_fake_scan(station.scans / "late_IR.tif", 5)
    station.run_once()
    before = station.results()
    for path in station.state.glob("ledger*"):
        path.unlink()

    code, text = station.run_once()

    assert code == 0, text
    assert station.results() == before
    assert station.states() == dict.fromkeys(["pair.tif", "pair_IR.tif", "late.tif", "late_IR.tif"], JobState.DONE)


def test_result_mask_preview_and_receipt_share_the_scans_time_when_asked(station: Station) -> None:
    station.config.write_text(station.config.read_text() + "[output]\nkeep_timestamp = true\n")
    scan, sidecar = write_pair(station.scans)
    os.utime(sidecar, ns=(10**18, 10**18 + 12345))

    code, text = station.run_once()

    assert code == 0, text
    times = {
        path.relative_to(station.restored).as_posix(): path.stat().st_mtime_ns
        for path in station.restored.rglob("frame*")
    }
    assert times.pop("frame_IR.tif") == 10**18 + 12345
    assert times == dict.fromkeys(
        ["frame.tif", "masks/frame.png", "previews/frame.jpg", "receipts/frame.json"], scan.stat().st_mtime_ns
    )


@pytest.mark.slow
def test_five_hundred_pairs_in_one_folder_come_out_once_each(station: Station) -> None:
    expected: dict[str, bytes] = {}
    for number in range(500):
        scan, sidecar = write_pair(station.scans, f"frame {number:03d}", ("_IR.tif", "-ir.TIFF")[number % 2])
        expected |= expected_result(scan, sidecar)
    inputs = station.input_hashes()

    process = station.start("load_fake", "--once")
    text, _ = process.communicate(timeout=280)

    assert process.returncode == 0, text[-2000:]
    assert station.results() == expected
    assert len(list((station.restored / "receipts").iterdir())) == 500
    station.check_promises(inputs)
