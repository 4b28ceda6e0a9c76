"""What a worker looks at before it starts a ticket: what it refuses, gives back, or answers at once."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from played_worker import PlayedChild, Stage

from spotless_core.options import InpaintMethod, InpaintOptions, RestoreOptions
from spotlessd.cluster.seat_checks import Lack, SeatChecks, Task, Terms
from spotlessd.cluster.shares import Shares
from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Answer, AnswerKind
from spotlessd.commons import Seat
from spotlessd.folders.roots import MARKER_NAME


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    return Stage(tmp_path)


def look(stage: Stage, taken: Taken, **changed: Any) -> Task | Lack | Answer:
    terms = Terms(
        "gpu1",
        changed.pop("shares", Shares({"archive": stage.share})),
        {InpaintMethod.AUTO: None},
        None,
        1_000_000,
        changed.pop("spool", "auto"),
        stage.share.parent / "spool",
    )
    values: dict[str, Any] = {"free_bytes": lambda _: 10**12, "free_memory_mb": lambda: 1e6, **changed}
    seat = Seat("worker", False, PlayedChild())  # type: ignore[arg-type]
    return SeatChecks(terms, [seat], **values).look(taken, seat, {}, 0.0)


def test_a_ticket_becomes_an_order_with_its_turns_parts(stage: Stage) -> None:
    found = look(stage, stage.taken(turn=9))

    assert isinstance(found, Task)
    assert found.order.image == stage.restored / "roll/.spotlessd-1-1-image_t9.part"
    assert found.order.spool is None


def test_a_scan_that_is_gone_beside_its_roots_marker_is_answered_so(stage: Stage) -> None:
    taken = stage.taken()
    (stage.scans / "roll/scan1.tif").unlink()

    found = look(stage, taken)

    assert isinstance(found, Answer)
    assert (found.kind, found.exit_code, found.is_retryable) == (AnswerKind.FAILED, 66, False)


def test_a_share_that_is_mounted_empty_never_fails_a_scan(stage: Stage) -> None:
    taken = stage.taken()
    (stage.scans / "roll/scan1.tif").unlink()
    (stage.scans / MARKER_NAME).unlink()

    assert isinstance(look(stage, taken), Lack)


def test_a_batch_without_markers_goes_by_what_else_lies_in_its_folder(stage: Stage) -> None:
    (stage.restored / MARKER_NAME).write_text("batch-1\n")
    taken = stage.taken(station="batch-1#00")
    (stage.scans / MARKER_NAME).unlink()
    (stage.scans / "roll/scan1.tif").unlink()

    assert isinstance(look(stage, taken), Answer)
    (stage.scans / "roll").rmdir()
    assert isinstance(look(stage, taken), Lack)


def test_another_stations_output_folder_is_not_written_to(stage: Stage) -> None:
    taken = stage.taken()
    (stage.restored / MARKER_NAME).write_text("bright\n")

    found = look(stage, taken)

    assert isinstance(found, Lack)
    assert "'bright'" in found.reason


def test_a_scan_of_another_size_is_tried_again_by_its_station(stage: Stage) -> None:
    found = look(stage, stage.taken(size=5))

    assert isinstance(found, Answer)
    assert found.is_retryable
    assert "5 expected" in found.message


@pytest.mark.parametrize(("seconds", "kind"), [(1.9, Task), (2.1, Answer)])
def test_times_of_change_may_differ_by_two_seconds(stage: Stage, seconds: float, kind: type) -> None:
    taken = stage.taken()

    os.utime(
        stage.scans / "roll/scan1.tif", ns=(taken.ticket.mtime_ns, taken.ticket.mtime_ns + int(seconds * 1_000_000_000))
    )

    assert isinstance(look(stage, taken), kind)


def test_a_link_in_the_scans_place_is_not_followed(stage: Stage) -> None:
    taken = stage.taken()
    scan = stage.scans / "roll/scan1.tif"
    scan.rename(stage.scans / "roll/other.tif")
    scan.symlink_to("other.tif")

    found = look(stage, taken)

    assert isinstance(found, Answer)
    assert "link" in found.message


def test_a_fill_that_is_not_loaded_sends_the_ticket_back_with_the_fix(stage: Stage) -> None:
    found = look(stage, stage.taken(options=RestoreOptions(inpaint=InpaintOptions(InpaintMethod.LAMA))))

    assert isinstance(found, Lack)
    assert "inpaint.method" in found.reason


def test_a_share_this_machine_has_not_sends_the_ticket_back(stage: Stage) -> None:
    found = look(stage, stage.taken(), shares=Shares({"other": stage.share}))

    assert isinstance(found, Lack)
    assert "[[shares]]" in found.reason


def test_a_full_disk_sends_the_ticket_back(stage: Stage) -> None:
    found = look(stage, stage.taken(), free_bytes=lambda _: 1000)

    assert isinstance(found, Lack)
    assert "Free some space" in found.reason


def test_too_little_memory_sends_the_ticket_back(stage: Stage) -> None:
    found = look(stage, stage.taken(megapixels=400.0), free_memory_mb=lambda: 100.0)

    assert isinstance(found, Lack)
    assert "memory" in found.reason


def test_working_copies_have_a_folder_for_each_seat(stage: Stage) -> None:
    found = look(stage, stage.taken(), spool="always")

    assert isinstance(found, Task)
    assert found.order.spool == stage.share.parent / "spool/seat-0/spotlessd-1-1.tif"
