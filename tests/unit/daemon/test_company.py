"""Who waits for whom: scans, infrared sidecars and metadata, with the clock in the test's hand."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_workers import check_fake_header, write_fake_scan

from spotlessd.companions.names import CompanionRules
from spotlessd.configuration.sections import WatchSettings
from spotlessd.engine import LocalEngine
from spotlessd.errors import LedgerError
from spotlessd.folders.roots import MARKER_NAME, NameRules, Root
from spotlessd.job import COMPANION_RECIPE, JobState, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.reconcile import Reconciler, Rules
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

SETTLE_SECONDS = 5.0
PATIENCE_SECONDS = 100.0


@dataclass
class Watched:
    """A reconciler on a real folder."""

    root: Root
    ledger: Ledger
    board: Board
    reconciler: Reconciler
    now: float = 1000.0

    def look(self, after: float = 0.0) -> None:
        self.now += after
        self.reconciler.look_soon()
        self.reconciler.tick(self.now)

    def settle(self) -> None:
        self.look(1)
        self.look(SETTLE_SECONDS + 1)

    def write(self, name: str, seed: int = 1, size: int = 4000) -> Path:
        return write_fake_scan(self.root.input / name, seed, size)

    def finish(self, rel: str, state: JobState = JobState.DONE) -> None:
        """Do a queued job, as dispatcher and worker would."""
        (job,) = [job for job in self.ledger.jobs(JobState.QUEUED) if job.identity.rel == rel]
        claimed = self.ledger.claim(job.id, "me", 1.0)
        assert claimed is not None
        outputs = {"image": rel, "receipt": f"receipts/{rel}.json"} if state is JobState.DONE else {}
        assert self.ledger.finish(claimed, state, outputs, "", {}, 2.0)

    def states(self) -> dict[str, JobState]:
        return {job.identity.rel: job.state for job in self.ledger.jobs()}

    def reasons(self) -> dict[str, str]:
        return {file.rel: file.reason for file in self.board.waiting()}

    def ready(self, rel: str) -> list[str]:
        return [companion.rel for companion in self.reconciler.company.ready_for(self.root, rel)]


def watch(folder: Path, database: Database, companions: CompanionRules | None = None) -> Watched:
    names = NameRules((".tif", ".jpg"), (), companions or CompanionRules())
    root = Root("scans", folder / "in", folder / "out", "dark", names, False, False)
    for place in (root.input, root.output):
        place.mkdir(exist_ok=True)
        (place / MARKER_NAME).write_text("dark\n")
    ledger, board = Ledger(database), Board(database)
    settings = WatchSettings(settle_seconds=SETTLE_SECONDS, incomplete_seconds=30, sidecar_seconds=PATIENCE_SECONDS)
    reconciler = Reconciler(
        [root],
        Rules(settings),
        ledger,
        LocalEngine(ledger, "me", RetryPolicy()),
        board,
        check=check_fake_header,
        on_open=lambda _: None,
        clock=time.time,
    )
    return Watched(root, ledger, board, reconciler)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "ledger.sqlite3") as opened:
        yield opened


@pytest.fixture
def watched(tmp_path: Path, database: Database) -> Watched:
    return watch(tmp_path, database)


def test_a_sidecar_beside_its_scan_makes_no_job_and_is_ready_with_it(watched: Watched) -> None:
    watched.write("frame.tif")
    watched.write("frame_IR.tif", 2)

    watched.settle()
    watched.look(1000)

    assert watched.states() == {"frame.tif": JobState.QUEUED}
    assert watched.ready("frame.tif") == ["frame_IR.tif"]
    assert watched.reasons() == {}


def test_a_scan_waits_for_a_sidecar_that_still_grows(watched: Watched) -> None:
    watched.write("frame.tif")
    sidecar = watched.write("frame_IR.tif", 2)
    for size in range(5000, 5010):
        watched.look(SETTLE_SECONDS - 1)
        sidecar.write_bytes(b"x" * size)
    states, reasons = watched.states(), watched.reasons()

    watched.write("frame_IR.tif", 2)
    watched.settle()

    assert states == {}
    assert "waits for frame_IR.tif" in reasons["frame.tif"]
    assert watched.states() == {"frame.tif": JobState.QUEUED}


def test_a_scan_does_not_wait_for_what_belongs_to_another(watched: Watched) -> None:
    watched.write("frame.tif")
    watched.write("other_IR.tif", 2)

    watched.settle()

    assert watched.states() == {"frame.tif": JobState.QUEUED}
    assert "not here yet" in watched.reasons()["other_IR.tif"]


def test_a_sidecar_cut_short_holds_its_scan_up_for_the_patience_and_no_longer(watched: Watched) -> None:
    watched.write("frame.tif")
    (watched.root.input / "frame_IR.tif").write_bytes(b"FAKE SCAN 4000\nabc")

    watched.settle()
    states = watched.states()
    for _ in range(20):
        watched.look(5)

    assert states == {}
    assert watched.states() == {"frame.tif": JobState.QUEUED}
    assert watched.ready("frame.tif") == ["frame_IR.tif"]


def test_an_odd_sidecar_goes_with_its_scan_as_it_is(watched: Watched) -> None:
    watched.write("frame.tif")
    (watched.root.input / "frame_IR.tif").write_text("Dear diary")

    watched.settle()

    assert watched.states() == {"frame.tif": JobState.QUEUED}
    assert watched.ready("frame.tif") == ["frame_IR.tif"]


def test_a_lone_sidecar_waits_with_its_reason_and_is_set_aside_in_the_end(watched: Watched) -> None:
    watched.write("frame_IR.tif")

    watched.settle()
    early = watched.states()
    watched.look(PATIENCE_SECONDS)
    watched.look(PATIENCE_SECONDS)

    assert early == {}
    (job,) = watched.ledger.jobs()
    assert (job.state, job.recipe, job.attempt) == (JobState.QUARANTINED, COMPANION_RECIPE, 0)
    assert f"spotlessd reprocess '{watched.root.input / 'frame_IR.tif'}'" in job.reason
    assert watched.board.waiting() == []


def test_a_scan_that_comes_while_its_sidecar_waits_is_not_held_up_by_it(watched: Watched) -> None:
    watched.write("frame_IR.tif", 2)
    watched.settle()

    watched.write("frame.tif")
    watched.settle()
    watched.look(10 * PATIENCE_SECONDS)

    assert watched.states() == {"frame.tif": JobState.QUEUED}
    assert watched.ready("frame.tif") == ["frame_IR.tif"]
    assert watched.reasons() == {}


def test_a_sidecar_whose_scan_went_away_is_alone_again(watched: Watched) -> None:
    scan = watched.write("frame.tif")
    watched.write("frame_IR.tif", 2)
    watched.settle()

    scan.unlink()
    watched.look(1)
    watched.look(1)
    reasons = watched.reasons()
    watched.look(PATIENCE_SECONDS)
    watched.look(PATIENCE_SECONDS)

    assert "not here yet" in reasons["frame_IR.tif"]
    assert watched.states()["frame_IR.tif"] is JobState.QUARANTINED


def test_a_sidecar_that_comes_after_the_result_becomes_a_job_at_once(watched: Watched) -> None:
    watched.write("frame.tif")
    watched.settle()
    watched.finish("frame.tif")

    watched.write("frame_IR.tif", 2)
    watched.settle()

    assert watched.states() == {"frame.tif": JobState.DONE, "frame_IR.tif": JobState.QUEUED}
    assert watched.ledger.jobs()[1].recipe == COMPANION_RECIPE
    assert watched.reconciler.company.result_beside(watched.root, "frame_IR.tif") == {
        "image": "frame.tif",
        "receipt": "receipts/frame.tif.json",
    }


def test_a_sidecar_that_was_left_out_of_its_scans_result_becomes_a_job(watched: Watched) -> None:
    watched.write("frame.tif")
    watched.write("frame_IR.tif", 2)
    watched.settle()
    watched.look(1)

    watched.finish("frame.tif")  # and the sidecar could not be read when it was published
    watched.look(1)

    assert watched.states()["frame_IR.tif"] is JobState.QUEUED


@pytest.mark.parametrize("state", [JobState.HELD, JobState.QUEUED])
def test_a_sidecar_waits_with_a_scan_that_has_no_result_yet(watched: Watched, state: JobState) -> None:
    watched.write("frame.tif")
    watched.settle()
    if state is JobState.HELD:
        watched.finish("frame.tif", state)

    watched.write("frame_IR.tif", 2)
    for _ in range(5):
        watched.look(PATIENCE_SECONDS)

    assert watched.states() == {"frame.tif": state}
    assert watched.ready("frame.tif") == ["frame_IR.tif"]


def test_a_sidecar_written_again_waits_for_its_scan_to_be_too(watched: Watched) -> None:
    watched.write("frame.tif")
    watched.write("frame_IR.tif", 2)
    watched.settle()
    watched.finish("frame.tif")
    watched.look(1)
    watched.finish("frame_IR.tif")

    watched.write("frame_IR.tif", 3, size=5000)
    watched.settle()
    early = [job.state for job in watched.ledger.jobs_of("scans", "frame_IR.tif")]
    watched.write("frame.tif", 4, size=5000)
    watched.settle()

    assert early == [JobState.DONE]
    assert [job.state for job in watched.ledger.jobs_of("scans", "frame_IR.tif")] == [JobState.DONE]
    assert watched.ledger.jobs_of("scans", "frame.tif")[0].state is JobState.QUEUED


def test_a_sidecar_written_again_alone_is_put_beside_the_old_result_in_the_end(watched: Watched) -> None:
    watched.write("frame.tif")
    watched.write("frame_IR.tif", 2)
    watched.settle()
    watched.finish("frame.tif")
    watched.look(1)
    watched.finish("frame_IR.tif")

    watched.write("frame_IR.tif", 3, size=5000)
    watched.settle()
    watched.look(PATIENCE_SECONDS)
    watched.look(PATIENCE_SECONDS)

    assert [job.state for job in watched.ledger.jobs_of("scans", "frame_IR.tif")] == [JobState.QUEUED, JobState.DONE]


def test_a_replaced_scan_takes_its_sidecar_along_again(watched: Watched) -> None:
    watched.write("frame.tif")
    watched.write("frame_IR.tif", 2)
    watched.settle()

    watched.write("frame.tif", 3, size=5000)
    watched.settle()

    assert [job.state for job in watched.ledger.jobs()] == [JobState.SUPERSEDED, JobState.QUEUED]
    assert watched.ready("frame.tif") == ["frame_IR.tif"]


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="leases are Linux's")
def test_a_sidecar_that_is_open_for_writing_is_waited_for(watched: Watched) -> None:
    watched.write("frame.tif")
    sidecar = watched.write("frame_IR.tif", 2)

    with sidecar.open("ab"):
        watched.settle()
        states = watched.states()
    watched.look(60)
    watched.look(60)

    assert states == {}
    assert watched.states() == {"frame.tif": JobState.QUEUED}


def test_after_a_restart_an_old_sidecar_is_ready_at_once_and_a_fresh_one_is_not(
    watched: Watched, tmp_path: Path, database: Database
) -> None:
    watched.write("frame.tif")
    watched.write("frame_IR.tif", 2)
    watched.settle()
    fresh = watched.write("frame-ir.tif", 3)
    os.utime(fresh)

    later = watch(tmp_path, database)
    later.look()

    assert later.ready("frame.tif") == ["frame_IR.tif"]


def test_metadata_goes_with_its_scan_and_alone_is_nothing(watched: Watched) -> None:
    watched.write("frame.tif")
    (watched.root.input / "frame.xmp").write_text("<x/>")
    (watched.root.input / "other.xmp").write_text("<x/>")

    watched.settle()
    watched.look(10 * PATIENCE_SECONDS)

    assert watched.states() == {"frame.tif": JobState.QUEUED}
    assert watched.ready("frame.tif") == ["frame.xmp"]
    assert watched.reasons() == {}


def test_metadata_edited_later_makes_no_job(watched: Watched) -> None:
    watched.write("frame.tif")
    metadata = watched.root.input / "frame.xmp"
    metadata.write_text("<x/>")
    watched.settle()
    watched.finish("frame.tif")

    metadata.write_text("<y>edited</y>")
    for _ in range(5):
        watched.look(PATIENCE_SECONDS)

    assert watched.states() == {"frame.tif": JobState.DONE}


def test_without_endings_a_file_named_like_a_sidecar_is_a_scan(tmp_path: Path, database: Database) -> None:
    watched = watch(tmp_path, database, CompanionRules(infrared_endings=()))
    watched.write("beach_IR.tif")

    watched.settle()

    assert [job.recipe for job in watched.ledger.jobs()] == ["recipe"]


def test_of_a_raw_file_and_its_jpeg_only_what_the_config_lists_is_taken(watched: Watched) -> None:
    watched.write("frame.jpg")
    (watched.root.input / "frame.nef").write_bytes(b"MM\0*raw")

    watched.settle()
    alone = watched.states()
    watched.root.rules = NameRules((".tif", ".jpg", ".nef"))
    watched.settle()

    assert alone == {"frame.jpg": JobState.QUEUED}
    assert watched.states()["frame.nef"] is JobState.QUARANTINED


def test_a_ledger_that_cannot_be_written_loses_no_sidecar(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.write("frame_IR.tif")
    watched.settle()

    def refuse(*_: object, **__: object) -> None:
        raise LedgerError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(watched.ledger, "enqueue", refuse)
        with pytest.raises(LedgerError):
            watched.look(PATIENCE_SECONDS)
    watched.look(PATIENCE_SECONDS)
    watched.look(PATIENCE_SECONDS)

    assert watched.states() == {"frame_IR.tif": JobState.QUARANTINED}


def test_five_hundred_pairs_in_one_folder_are_all_found(watched: Watched) -> None:
    for number in range(500):
        watched.write(f"frame {number}.tif", number, size=50)
        watched.write(f"frame {number}_IR.tif", number, size=50)

    watched.settle()

    assert watched.states() == {f"frame {number}.tif": JobState.QUEUED for number in range(500)}
    assert all(watched.ready(f"frame {number}.tif") == [f"frame {number}_IR.tif"] for number in range(500))
