"""A station that is fed two hundred hostile files, and workers that crash, hang and eat memory on theirs.

Each file ends in a state with its reason, the daemon goes on, and a good scan behind them is restored.
"""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_station import Station
from drawing_tiff import write
from fake_workers import HOG_MB
from fuzz.bombs_flat import BOMBS
from fuzz.mutators import make_mutant
from fuzz.seeds import draw_seeds

from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

SUFFIXES = {"tiff": ".tif", "bigtiff": ".tif", "jpeg": ".jpg", "png": ".png", "bmp": ".bmp", "pnm": ".ppm"}
MUTANTS_OF_A_KIND = 30
CORPUS_SECONDS = 240.0
REACHED = {JobState.QUARANTINED, JobState.DONE}
"""How a hostile file ends here: refused, or so little damaged that it is restored soundly."""


class DecodingStation(Station):
    """A station whose worker really decodes."""

    program = "decoding_workers.py"
    loader = "load_decoder"

    def jobs(self) -> dict[str, Job]:
        with Database.open(self.state / LEDGER_NAME) as database:
            return {job.identity.rel: job for job in Ledger(database).jobs()}


@pytest.fixture
def station(tmp_path: Path) -> Iterator[DecodingStation]:
    made = DecodingStation(tmp_path)
    yield made
    made.close()


def drop_hostile_files(folder: Path) -> None:
    for name, bomb in BOMBS.items():
        suffix = next(suffix for kind, suffix in SUFFIXES.items() if name.startswith(kind))
        (folder / f"{name}{suffix}").write_bytes(bomb.draw())
    for kind, suffix in SUFFIXES.items():
        seeds = draw_seeds(kind)
        for number in range(MUTANTS_OF_A_KIND):
            (folder / f"mutant-{kind}-{number}{suffix}").write_bytes(make_mutant(seeds, number))


def checksums(folder: Path) -> dict[str, str]:
    """Of every regular file but the station's own marker."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.timeout(600)
def test_two_hundred_hostile_files_end_with_a_reason_and_a_good_scan_behind_them_is_restored(
    station: DecodingStation,
) -> None:
    drop_hostile_files(station.scans)
    os.mkfifo(station.scans / "pipe.tif")
    (station.scans / "folder.tif").mkdir()
    (station.scans / "loop.tif").symlink_to("loop.tif")
    hostile = checksums(station.scans)
    daemon = station.start(station.loader)
    assert daemon.stdout is not None
    # Two hundred refusals are more text than a pipe holds.
    threading.Thread(target=daemon.stdout.read, daemon=True).start()

    station.wait_for(
        lambda: (
            (station.state / LEDGER_NAME).exists()
            and set(station.states()) == set(hostile)
            and set(station.states().values()) <= REACHED
        ),
        CORPUS_SECONDS,
    )
    write(station.scans / "good.tif")
    station.wait_for(lambda: station.states().get("good.tif") is JobState.DONE)

    assert len(hostile) > 200
    assert daemon.poll() is None
    assert read_status(station.state, time.time()).is_running
    jobs = station.jobs()
    assert all(jobs[name].reason for name in hostile if jobs[name].state is JobState.QUARANTINED)
    assert {name: jobs[name].reason for name in hostile if jobs[name].crashes} == {}
    assert {name: digest for name, digest in checksums(station.scans).items() if name in hostile} == hostile
    assert not list(station.restored.rglob("*.part"))
    assert set(checksums(station.restored)) == {name for name, job in jobs.items() if job.state is JobState.DONE}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("segfault.tif", "SIGSEGV"),
        ("hang.tif", "no progress"),
        ("freeze.tif", "no progress"),
        ("hog.tif", "MB of memory"),
    ],
)
def test_a_decoder_that_runs_wild_ends_its_worker_and_its_scan_only(
    station: DecodingStation, name: str, words: str
) -> None:
    limits = f"[queue]\nmax_attempts = 2\nmax_worker_mb = {HOG_MB - 100}\n"
    station.config.write_text(station.config.read_text().replace("[queue]\n", limits))
    for scan in ("first.tif", name, "last.tif"):
        write(station.scans / scan)

    code, text = station.run_once()

    assert code == 65, text
    bad = station.jobs()[name]
    assert (bad.state, bad.crashes) == (JobState.QUARANTINED, 2)
    assert bad.reason.startswith("2 attempts failed; the last one: the worker ")
    assert words in bad.reason
    assert station.states() == {"first.tif": JobState.DONE, name: JobState.QUARANTINED, "last.tif": JobState.DONE}
