"""The real daemon with the network that ships: processes, files, kills; no fakes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawing import write_scan
from PIL import Image

from spotlessd.job import JobState
from spotlessd.monitoring.status import read_status
from spotlessd.station import init_station

DEADLINE_SECONDS = 120.0
FAST = {
    "SPOTLESSD_WATCH__SETTLE_SECONDS": "1",
    "SPOTLESSD_WATCH__RESCAN_SECONDS": "1",
    "SPOTLESSD_WATCH__INCOMPLETE_SECONDS": "3",
    "SPOTLESSD_QUEUE__RETRY_SECONDS": "1",
}


@contextmanager
def daemon(config: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "spotlessd", "run", "--config", str(config)]
    with (config.parent / "daemon.log").open("ab") as log:
        process = subprocess.Popen(command, env=os.environ | FAST, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def wait_until(done: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_SECONDS} s\n{log.read_text()}"
        time.sleep(0.1)


def counts(station: Path) -> dict[JobState, int]:
    return read_status(station / "state", time.time()).counts


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def published(station: Path) -> list[str]:
    return sorted(path.name for path in (station / "restored").iterdir() if path.is_file() and path.name[0] != ".")


def drop_mixed_scans(folder: Path, number: int) -> list[str]:
    """Write `number` good scans of mixed formats into `folder`; returns their names."""
    names = []
    for index in range(number):
        kind = ("tif", "png", "jpg")[index % 3]
        name = f"frame_{index:02d}.{kind}"
        plain = folder.parent / f"plain_{index}.tif"
        write_scan(plain, 200, 260, specks=5, seed=index + 1, bits=16 if kind == "tif" else 8)
        if kind == "tif":
            plain.rename(folder / name)
        else:
            Image.fromarray(tifffile.imread(plain)).save(folder / name, quality=95, dpi=(4000, 4000))
            plain.unlink()
        names.append(name)
    return names


def test_twenty_mixed_files_at_once_good_ones_come_out_bad_ones_say_why(tmp_path: Path) -> None:
    config = init_station(tmp_path / "station")
    station, scans = config.parent, config.parent / "scans"
    good = drop_mixed_scans(scans, 16)
    write_scan(tmp_path / "whole.tif", 200, 260)
    whole = (tmp_path / "whole.tif").read_bytes()
    (scans / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    (scans / "text.tif").write_text("Dear lab, please scan these at 4000 dpi.")
    (scans / "empty.tif").write_bytes(b"")
    before = checksums(scans)

    with daemon(config), (scans / "growing.tif").open("wb") as growing:

        def grow() -> bool:
            growing.write(whole[:200])
            growing.flush()
            now = counts(station)
            return now[JobState.DONE] + now[JobState.HELD] == 16 and now[JobState.QUARANTINED] == 3

        wait_until(grow, "16 done, 3 quarantined", station / "daemon.log")
        waiting = {file.rel for file in read_status(station / "state", time.time()).waiting}

    assert published(station) == sorted(good)
    assert "growing.tif" in waiting
    assert {name: value for name, value in checksums(scans).items() if name != "growing.tif"} == before
    listed = subprocess.run(
        [sys.executable, "-m", "spotlessd", "list", "--config", str(config), "--state", "quarantined", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    reasons = {job["file"]: job["reason"] for job in json.loads(listed.stdout)}
    assert set(reasons) == {"truncated.tif", "text.tif", "empty.tif"}
    assert "not a TIFF, DNG, PNG, JPEG, BMP or PNM file" in reasons["text.tif"]
    assert "empty" in reasons["empty.tif"]
    assert reasons["truncated.tif"]


@pytest.mark.parametrize("victim", ["worker", "daemon"])
def test_after_kill_9_every_scan_is_published_exactly_once(tmp_path: Path, victim: str) -> None:
    config = init_station(tmp_path / "station")
    station, scans = config.parent, config.parent / "scans"
    names = [f"frame_{index}.tif" for index in range(4)]
    for index, name in enumerate(names):
        write_scan(scans / name, 700, 900, specks=20, seed=index + 1)
    before = checksums(scans)

    def job_in_hand() -> bool:
        snapshot = read_status(station / "state", time.time()).snapshot
        return snapshot is not None and snapshot.job is not None and snapshot.worker_pid is not None

    with daemon(config) as process:
        wait_until(job_in_hand, "a job in hand", station / "daemon.log")
        snapshot = read_status(station / "state", time.time()).snapshot
        assert snapshot is not None
        assert snapshot.worker_pid is not None
        os.kill(process.pid if victim == "daemon" else snapshot.worker_pid, signal.SIGKILL)
        if victim == "worker":
            wait_until(lambda: counts(station)[JobState.DONE] == 4, "4 done", station / "daemon.log")
    if victim == "daemon":
        with daemon(config):
            wait_until(lambda: counts(station)[JobState.DONE] == 4, "4 done", station / "daemon.log")

    assert published(station) == names
    assert checksums(scans) == before
    for name in names:
        receipt = json.loads((station / f"restored/receipts/{Path(name).stem}.json").read_text())
        for role in ("image", "mask", "preview"):
            path = station / "restored" / receipt["outputs"][role]["name"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == receipt["outputs"][role]["sha256"]
    assert not list((station / "restored").rglob("*.part"))


def test_reprocess_with_a_persons_mask_gives_a_second_result_and_keeps_the_first(tmp_path: Path) -> None:
    config = init_station(tmp_path / "station")
    station = config.parent
    write_scan(station / "scans/frame.tif", 200, 260)
    edited = np.zeros((200, 260), np.uint8)
    edited[50:60, 100:120] = 255
    Image.fromarray(edited).save(tmp_path / "edited.png")

    with daemon(config):
        wait_until(lambda: counts(station)[JobState.DONE] == 1, "1 done", station / "daemon.log")
        first = (station / "restored/frame.tif").read_bytes()
        subprocess.run(
            [sys.executable, "-m", "spotlessd", "reprocess", str(station / "scans/frame.tif"), "--config", str(config),
             "--mask", str(tmp_path / "edited.png")],
            check=True,
        )  # fmt: skip
        wait_until(lambda: counts(station)[JobState.DONE] == 2, "2 done", station / "daemon.log")

    assert published(station) == ["frame.tif", "frame~2.tif"]
    assert (station / "restored/frame.tif").read_bytes() == first
    with Image.open(station / "restored/masks/frame~2.png") as picture:
        assert (np.asarray(picture) == edited).all()
