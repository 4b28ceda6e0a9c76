"""Rows 3 and 13: the worker dies at a named step, hangs, reads where nothing is, or finds too little memory."""

import pytest
from fake_workers import write_fake_scan
from faults.fault_station import FaultStation, check_invariants, check_while_down

from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.database import Database

slow = pytest.mark.slow
STEPS_WITH_A_JOB = (
    pytest.param("ordered", marks=slow),
    pytest.param("step_decode", marks=slow),
    "step_inpaint",
    pytest.param("step_verify", marks=slow),
    "before_answer",
)
STEPS_WITHOUT = ("started", "loaded")


def job_of(station: FaultStation, rel: str) -> Job:
    with Database.open(station.state / LEDGER_NAME) as database:
        return Ledger(database).jobs_of("scans", rel)[0]


@pytest.mark.parametrize("step", STEPS_WITH_A_JOB)
def test_a_worker_that_always_dies_at_a_step_costs_three_attempts_of_one_scan(station: FaultStation, step: str) -> None:
    write_fake_scan(station.scans / "frame.tif")
    station.remember_scans()

    code, text = station.run_once(crash_at=f"worker.{step}")
    assert code == 65, text
    check_while_down(station, f"worker dies at {step}")
    job = job_of(station, "frame.tif")
    with Database.open(station.state / LEDGER_NAME) as database:
        assert Ledger(database).retry(job.id, 0.0)
    station.recover(station.run_once)

    assert (job.attempt, job.crashes, job.interrupts) == (3, 3, 0)
    check_invariants(station, f"worker dies at {step}")


def test_a_worker_that_dies_behind_its_answer_costs_nothing(station: FaultStation) -> None:
    for number in range(2):
        write_fake_scan(station.scans / f"frame{number}.tif", number)
    station.remember_scans()

    station.recover(lambda: station.run_once(crash_at="worker.answered"))

    check_invariants(station, "worker dies at answered")


@pytest.mark.parametrize("step", STEPS_WITHOUT)
def test_a_worker_that_dies_before_it_has_a_job_blames_no_scan(station: FaultStation, step: str) -> None:
    write_fake_scan(station.scans / "frame.tif")
    station.remember_scans()

    code, text = station.run_once(crash_at=f"worker.{step}")
    assert code == 69, text
    job = job_of(station, "frame.tif")
    station.recover(station.run_once)

    assert (job.state, job.strikes, job.interrupts) == (JobState.QUEUED, 0, 0)
    check_invariants(station, f"worker dies at {step}")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("crash.tif", "killed by SIGKILL"),
        ("segfault.tif", "killed by SIGSEGV"),
        ("hang.tif", "no progress"),
        ("freeze.tif", "no progress"),
        ("endless.tif", "was not done after"),
        ("hog.tif", "more than the 500 MB"),
    ],
)
def test_a_scan_that_hurts_every_worker_is_set_aside_and_the_others_are_done(
    station: FaultStation, name: str, sentence: str
) -> None:
    lines = ["max_worker_mb = 500", "max_attempts = 2"]
    if name == "endless.tif":
        lines.append("seconds_per_megapixel = 0.001")
    station.set_queue(*lines)
    write_fake_scan(station.scans / name)
    write_fake_scan(station.scans / "other.tif", 2)
    station.remember_scans()

    words = ["--short-deadline"] if name == "endless.tif" else []
    process = station.start("load_fake", "--once", *words)
    text, _ = process.communicate(timeout=120)

    assert process.returncode == 65, text
    job = job_of(station, name)
    assert sentence in job.reason
    assert job.crashes == 2
    check_invariants(station, f"scan that makes the worker {name.removesuffix('.tif')}", frozenset({name}))


def test_a_scan_that_hurts_only_its_first_worker_is_done(station: FaultStation) -> None:
    write_fake_scan(station.scans / "kill_first.tif")
    station.remember_scans()

    station.recover(station.run_once)

    assert job_of(station, "kill_first.tif").crashes == 1
    check_invariants(station, "worker killed once")


def test_a_scan_for_which_memory_is_short_is_tried_with_smaller_tiles(station: FaultStation) -> None:
    write_fake_scan(station.scans / "short_of_memory_1.tif")
    station.remember_scans()

    station.recover(station.run_once)

    job = job_of(station, "short_of_memory_1.tif")
    assert (job.attempt, job.shortages, job.strikes) == (2, 1, 0)
    check_invariants(station, "device memory, once")


def test_a_scan_for_which_memory_stays_short_is_done_on_the_cpu_where_that_is_allowed(station: FaultStation) -> None:
    station.config.write_text(station.config.read_text() + '[device]\ndevice = "auto"\nallow_fallback = true\n')
    write_fake_scan(station.scans / "short_of_memory_2.tif")
    station.remember_scans()

    station.recover(station.run_once)

    assert job_of(station, "short_of_memory_2.tif").attempt == 3
    check_invariants(station, "device memory, CPU allowed")


def test_a_scan_for_which_memory_stays_short_is_held_where_the_cpu_is_not_allowed(station: FaultStation) -> None:
    write_fake_scan(station.scans / "short_of_memory_2.tif")
    write_fake_scan(station.scans / "other.tif")

    code, text = station.run_once()

    assert code == 0, text
    job = job_of(station, "short_of_memory_2.tif")
    assert (job.state, job.attempt) == (JobState.HELD, 2)
    assert "too little memory in 2 attempts, with smaller tiles too" in job.reason
    assert job_of(station, "other.tif").state is JobState.DONE


def test_a_worker_that_may_have_no_more_memory_gets_a_fresh_start_and_less_to_do(station: FaultStation) -> None:
    """A limit of the operating system (RLIMIT_AS): Python itself raises MemoryError."""
    write_fake_scan(station.scans / "allocate_first.tif")
    station.remember_scans()

    station.recover(station.run_once)

    assert job_of(station, "allocate_first.tif").shortages == 1
    check_invariants(station, "no address space")
