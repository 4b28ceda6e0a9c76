"""One job's way through the parent, with a supervisor that is played by the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from played_lanes import SECONDS_PER_MEGAPIXEL, Bench, open_bench

from spotless_core.options import FilmFormat, RestoreOptions
from spotlessd.commons import RECHECK_SECONDS
from spotlessd.configuration.profiles import Profile, Reading
from spotlessd.errors import LedgerError, WorkerDiedError
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import Identity, JobState, Overrides, RetryPolicy
from spotlessd.publishing.found_receipts import found_scans
from spotlessd.start_checks import DEADLINE_BASE_SECONDS, MEMORY_PATIENCE_SECONDS
from spotlessd.supervisor import StartTrouble, WorkerLost


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path) as made:
        yield made


def test_a_queued_scan_is_ordered_restored_and_published(bench: Bench) -> None:
    job_id = bench.queue()

    bench.tick()
    bench.work()
    bench.tick()

    assert bench.job(job_id).state is JobState.DONE
    assert bench.published() == {"frame.tif", "masks/frame.png", "previews/frame.jpg", "receipts/frame.json"}
    assert bench.dispatcher.job is None


def test_one_job_at_a_time(bench: Bench) -> None:
    bench.queue("a.tif")
    bench.queue("b.tif")

    bench.tick()
    bench.tick()

    assert len(bench.supervisor.orders) == 1


def test_a_scan_that_changed_while_it_was_read_is_void_and_publishes_nothing(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.work()
    with (bench.root.input / "frame.tif").open("ab") as file:
        file.write(b"more")

    bench.tick(may_start=False)

    assert bench.job(job_id).state is JobState.SUPERSEDED
    assert bench.published() == set()


def test_a_scan_rewritten_at_the_same_size_while_it_was_read_is_void_too(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.work()
    path = bench.root.input / "frame.tif"
    path.write_bytes(path.read_bytes()[::-1])

    bench.tick(may_start=False)

    assert bench.job(job_id).state is JobState.SUPERSEDED


def test_a_failure_on_a_file_that_changed_is_not_blamed_on_it(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    (bench.root.input / "frame.tif").write_bytes(b"")
    bench.fail(65, is_retryable=False)

    bench.tick(may_start=False)

    assert bench.job(job_id).state is JobState.SUPERSEDED


def test_a_file_that_is_gone_before_its_turn_costs_nothing(bench: Bench) -> None:
    job_id = bench.queue()
    (bench.root.input / "frame.tif").unlink()

    bench.tick()

    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (JobState.GONE, 0)


def test_nothing_is_concluded_while_the_folder_is_away(bench: Bench) -> None:
    job_id = bench.queue()
    (bench.root.input / "frame.tif").unlink()
    (bench.root.input / MARKER_NAME).unlink()

    bench.tick()

    assert bench.job(job_id).state is JobState.QUEUED
    assert "scans" in bench.commons.away


def test_a_full_disk_pauses_the_queue_before_an_attempt_is_spent(bench: Bench) -> None:
    job_id = bench.queue()
    bench.free[0] = 3 * bench.job(job_id).identity.size + 999

    bench.tick(now=0.0)
    paused = bench.commons.pause_reason
    bench.free[0] += 1
    bench.tick(now=RECHECK_SECONDS - 1)
    before = len(bench.supervisor.orders)
    bench.tick(now=RECHECK_SECONDS + 1)

    assert paused.startswith("disk:")
    assert (before, len(bench.supervisor.orders)) == (0, 1)
    assert bench.job(job_id).attempt == 1


def test_a_result_that_cannot_be_written_pauses_the_queue_and_costs_no_strike(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.fail(73, is_retryable=True, message="no space left.")

    bench.tick()

    job = bench.job(job_id)
    assert (job.state, job.strikes, job.interrupts) == (JobState.QUEUED, 0, 0)
    assert bench.commons.pause_reason == "no space left."


def test_a_device_that_fails_is_not_the_scans_fault(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.fail(69, is_retryable=False, message="fell off the bus.")

    bench.tick(may_start=False)

    assert bench.job(job_id).strikes == 0
    assert bench.dispatcher.start_trouble == StartTrouble("fell off the bus.", 69)


def test_a_bad_scan_is_quarantined_with_its_sentence(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.fail(65, is_retryable=True, message="it ends too early.")

    bench.tick()

    assert (bench.job(job_id).state, bench.job(job_id).reason) == (JobState.QUARANTINED, "it ends too early.")


def test_a_worker_that_died_is_one_crash(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.supervisor.events.append(WorkerLost(bench.supervisor.orders[0], WorkerDiedError("killed.")))

    bench.tick(may_start=False)

    assert (bench.job(job_id).crashes, bench.job(job_id).state) == (1, JobState.QUEUED)


def test_a_held_frame_is_held_with_mask_preview_and_receipt(bench: Bench) -> None:
    job_id = bench.queue("held.tif")

    bench.tick()
    bench.work()
    bench.tick()

    assert bench.job(job_id).state is JobState.HELD
    assert bench.published() == {"masks/held.png", "previews/held.jpg", "receipts/held.json"}


def test_overrides_reach_the_worker_and_the_result_gets_a_new_name(bench: Bench, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"mask")
    bench.queue()
    bench.queue(overrides=Overrides(mask, "high"), recipe="recipe+1")

    for _ in range(2):
        bench.tick()
        bench.work()
        bench.tick(may_start=False)

    order = bench.supervisor.orders[1]
    assert (order.given_mask, str(order.options.mask.sensitivity)) == (mask, "high")
    assert "frame~2.tif" in bench.published()


def test_a_result_that_cannot_be_published_now_is_kept_and_published_later(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick(now=0.0)
    bench.work()
    masks = bench.root.output / "masks"
    aside = masks.rename(bench.root.output / "away")

    bench.tick(now=1.0)
    state_while_paused = bench.job(job_id).state
    aside.rename(masks)
    bench.tick(now=2.0 + RECHECK_SECONDS)

    assert state_while_paused is JobState.RUNNING
    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (JobState.DONE, 1)
    assert len(bench.published()) == 4


def test_dropping_counts_nothing_and_removes_the_parts(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.work()

    bench.dispatcher.drop("stopped")

    job = bench.job(job_id)
    assert (job.state, job.interrupts, job.strikes) == (JobState.QUEUED, 0, 0)
    assert bench.supervisor.is_dropped
    assert bench.published() == set()


def test_no_job_starts_while_it_may_not(bench: Bench) -> None:
    bench.queue()

    bench.tick(may_start=False)

    assert bench.supervisor.orders == []


def test_the_receipt_carries_what_a_lost_ledger_needs(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.work()
    bench.tick()

    found = list(found_scans(bench.root))
    assert [scan.identity for scan in found] == [bench.job(job_id).identity]
    assert found[0].outputs == bench.job(job_id).outputs


def test_no_job_starts_before_the_folder_was_looked_at(bench: Bench) -> None:
    path = write_fake_scan(bench.root.input / "frame.tif")
    status = path.stat()
    bench.engine.submit(Identity("scans", "frame.tif", status.st_size, status.st_mtime_ns), 1, "recipe")

    bench.tick()

    assert bench.supervisor.orders == []


def spooled(bench: Bench, folder: Path) -> Bench:
    """Let the scans of the bench's root be copied first, as on a share."""
    bench.root.reading = Reading(spool="always")
    bench.change(spool_dir=folder)
    return bench


def test_a_scan_on_a_share_is_ordered_with_a_local_copy_and_its_own_name(bench: Bench, tmp_path: Path) -> None:
    bench = spooled(bench, tmp_path / "spool")
    job_id = bench.queue("frame.tif")

    bench.tick()
    order = bench.supervisor.orders[-1]
    bench.work()
    bench.tick()

    assert order.spool == tmp_path / "spool" / f"spotlessd-{job_id}-1.tif"
    assert (order.source, order.source_name) == (bench.root.input / "frame.tif", "frame.tif")
    assert bench.job(job_id).state is JobState.DONE


def test_a_copy_that_a_killed_worker_left_is_removed_with_its_job(bench: Bench, tmp_path: Path) -> None:
    bench = spooled(bench, tmp_path / "spool")
    bench.queue("frame.tif")
    bench.tick()
    order = bench.supervisor.orders[-1]
    assert order.spool is not None
    order.spool.write_bytes(b"half")

    bench.supervisor.events.append(WorkerLost(order, WorkerDiedError("gone.")))
    bench.tick()

    assert not order.spool.exists()


def test_no_room_for_the_copy_pauses_the_queue_before_an_attempt_is_spent(bench: Bench, tmp_path: Path) -> None:
    bench = spooled(bench, tmp_path / "spool")
    bench.commons._free_bytes = lambda path: 10**12 if path == bench.root.output else 100
    job_id = bench.queue("frame.tif")

    bench.tick()

    assert "copy of a scan" in bench.commons.pause_reason
    assert bench.job(job_id).attempt == 0


@pytest.mark.parametrize(("exit_code", "is_retryable"), [(65, False), (66, False), (75, True)])
def test_a_share_that_goes_away_in_the_middle_is_not_the_scans_fault(
    bench: Bench, exit_code: int, is_retryable: bool
) -> None:
    job_id = bench.queue("frame.tif")
    bench.tick()
    marker = bench.root.input / MARKER_NAME
    marker.unlink()

    bench.fail(exit_code, is_retryable=is_retryable)
    bench.tick()
    away = bench.job(job_id)
    marker.write_text("dark\n")
    bench.wall[0] += 3600
    bench.tick(1.0)
    bench.work()
    bench.tick(2.0)

    assert (away.state, away.strikes) == (JobState.QUEUED, 0)
    assert MARKER_NAME in away.reason
    assert bench.job(job_id).state is JobState.DONE


def test_the_receipt_names_the_recipe_that_ran_and_not_the_one_it_was_queued_with(bench: Bench) -> None:
    plain, again = bench.queue("frame.tif", recipe="old"), bench.queue("frame.tif", recipe="old+3")
    bench.root.profile = Profile(recipe="new")

    for now in (0.0, 1.0):
        bench.tick(now)
        bench.work()
        bench.tick(now)

    recipes = {found.recipe for found in found_scans(bench.root)}
    assert [bench.job(number).state for number in (plain, again)] == [JobState.DONE, JobState.DONE]
    assert recipes == {"new", "new+3"}


def test_each_folder_is_restored_with_its_own_options(bench: Bench) -> None:
    options = RestoreOptions(film_format=FilmFormat.MM120_67)
    bench.change(profiles={"scans": options})
    bench.queue("frame.tif")

    bench.tick()

    assert bench.supervisor.orders[-1].options == options


def test_each_shortage_of_memory_makes_the_next_attempt_ask_for_less(bench: Bench) -> None:
    bench.engine.policy = RetryPolicy(may_use_cpu=True)
    job_id = bench.queue()
    for _ in range(2):
        bench.tick()
        bench.fail(69, is_retryable=True, is_out_of_memory=True)
    bench.tick()
    bench.tick()

    tiles = [order.options.detect.tile_px for order in bench.supervisor.orders]
    assert tiles == [1024, 512, 512]
    assert [order.is_on_cpu for order in bench.supervisor.orders] == [False, False, True]
    assert bench.supervisor.stops == 2  # a fresh child has the whole device
    assert bench.job(job_id).strikes == 0


def test_a_frame_waits_for_memory_and_a_smaller_one_goes_first(bench: Bench) -> None:
    large, small = bench.queue("large.tif"), bench.queue("small.tif")
    bench.sizes["large.tif"] = (40_000, 10_000)
    bench.free_memory[0] = 1500.0

    bench.tick()
    bench.tick()

    assert [order.job_id for order in bench.supervisor.orders] == [small]
    waiting = bench.job(large)
    assert (waiting.state, waiting.attempt) == (JobState.QUEUED, 0)
    assert waiting.reason.startswith("waits for memory: 1500 MB free, 3000 MB wanted for 400 megapixels")
    assert bench.commons.pause_reason == ""


def test_a_frame_that_waited_for_memory_long_enough_is_tried_all_the_same(bench: Bench) -> None:
    large = bench.queue("large.tif")
    bench.sizes["large.tif"] = (40_000, 10_000)
    bench.free_memory[0] = 1500.0
    bench.tick(now=0.0)
    bench.wall[0] += MEMORY_PATIENCE_SECONDS

    bench.tick(now=MEMORY_PATIENCE_SECONDS)

    assert [order.job_id for order in bench.supervisor.orders] == [large]


def test_a_large_frame_may_take_longer_than_a_small_one(bench: Bench) -> None:
    bench.queue("large.tif")
    bench.sizes["large.tif"] = (10_000, 2_000)

    bench.tick()

    assert bench.supervisor.orders[0].deadline_seconds == DEADLINE_BASE_SECONDS + 20 * SECONDS_PER_MEGAPIXEL


@pytest.mark.parametrize("is_lost", [True, False])
def test_what_the_worker_said_is_kept_until_the_ledger_can_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    job_id = bench.queue()
    bench.tick()
    if is_lost:
        bench.supervisor.events.append(WorkerLost(bench.supervisor.orders[0], WorkerDiedError("killed.")))
    else:
        bench.fail(65, is_retryable=False)

    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "fail", _refuse)
        with pytest.raises(LedgerError):
            bench.tick(may_start=False)
    bench.tick(may_start=False)

    assert bench.job(job_id).strikes == 1
    assert bench.dispatcher.job is None


def _refuse(*_: object) -> bool:
    raise LedgerError("the disk is full.")


def test_a_link_that_took_a_scans_place_is_not_read(bench: Bench, tmp_path: Path) -> None:
    job_id = bench.queue("frame.tif")
    path = bench.root.input / "frame.tif"
    path.rename(tmp_path / "outside.tif")
    path.symlink_to(tmp_path / "outside.tif")

    bench.tick()

    assert bench.supervisor.orders == []
    assert bench.job(job_id).state is JobState.SUPERSEDED


def test_a_job_whose_result_lies_there_with_its_receipt_is_done_without_the_worker(bench: Bench) -> None:
    bench.queue()
    bench.tick()
    bench.work()
    bench.tick()
    published = bench.published()
    with bench.ledger._database.transaction() as connection:  # as a ledger without its last commits has it
        connection.execute("UPDATE job SET state = 'queued', attempt = 0, outputs = '{}', plan = ''")

    bench.tick()

    assert len(bench.supervisor.orders) == 1
    assert bench.ledger.jobs()[0].outputs["image"] == "frame.tif"
    assert bench.published() == published
