"""The ledger against a plain dictionary, and what it promises about attempts, fencing and duplicates."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from spotlessd.errors import LedgerError
from spotlessd.job import COMPANION_RECIPE, Decision, Identity, Job, JobState, Overrides
from spotlessd.ledger import FoundScan, Ledger
from spotlessd.sqlite.database import MIGRATIONS, Database
from spotlessd.sqlite.reading import CLOCK_STEP_SECONDS, FEW_DUE

SCANS = frozenset({"scans"})
RETRY = Decision(JobState.QUEUED, "try again", crashes=1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "ledger.sqlite3") as opened:
        yield opened


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def identity(rel: str = "a.tif", size: int = 10, mtime_ns: int = 100) -> Identity:
    return Identity("scans", rel, size, mtime_ns)


def queue(ledger: Ledger, rel: str = "a.tif", size: int = 10, mtime_ns: int = 100) -> int:
    job_id = ledger.enqueue(identity(rel, size, mtime_ns), 1, "recipe", 1.0)
    assert job_id is not None
    return job_id


def claim(ledger: Ledger, job_id: int, owner: str = "me") -> Job:
    job = ledger.claim(job_id, owner, 2.0)
    assert job is not None
    return job


def test_the_same_file_is_queued_once(ledger: Ledger) -> None:
    queue(ledger)

    assert ledger.enqueue(identity(), 1, "recipe", 2.0) is None


def test_a_new_recipe_does_not_make_a_done_file_unknown(ledger: Ledger) -> None:
    job = claim(ledger, queue(ledger))
    ledger.finish(job, JobState.DONE, {}, "", {}, 3.0)

    assert ledger.is_known(identity())
    assert not ledger.is_known(identity(size=11))


def test_the_attempt_is_on_disk_before_the_work_starts(ledger: Ledger, database: Database) -> None:
    job_id = queue(ledger)

    claim(ledger, job_id)

    with Database.open(database.path) as other:
        seen = Ledger(other).job(job_id)
    assert seen is not None
    assert (seen.state, seen.attempt, seen.owner) == (JobState.RUNNING, 1, "me")


def test_a_result_of_an_older_attempt_is_void(ledger: Ledger) -> None:
    job_id = queue(ledger)
    first = claim(ledger, job_id)
    ledger.fail(first, RETRY, 3.0)
    claim(ledger, job_id)

    assert not ledger.finish(first, JobState.DONE, {}, "", {}, 4.0)
    assert not ledger.fail(first, RETRY, 4.0)
    assert not ledger.plan(first, "[]")
    assert not ledger.drop(first, JobState.GONE, "", 4.0)


def test_a_result_of_another_owner_is_void(ledger: Ledger) -> None:
    job_id = queue(ledger)
    claim(ledger, job_id, "old daemon")
    ledger.fail(ledger.orphans()[0], RETRY, 3.0)
    job = claim(ledger, job_id, "new daemon")

    assert not ledger.finish(replace(job, owner="old daemon"), JobState.DONE, {}, "", {}, 4.0)


def test_a_rewritten_file_supersedes_its_waiting_job(ledger: Ledger) -> None:
    old = queue(ledger)

    new = queue(ledger, size=11)

    superseded = ledger.job(old)
    assert superseded is not None
    assert (superseded.state, superseded.reason) == (JobState.SUPERSEDED, f"replaced by job {new}")


def test_a_file_that_came_back_unchanged_is_taken_up_again(ledger: Ledger) -> None:
    job_id = queue(ledger)
    ledger.give_up(job_id, JobState.GONE, "gone", 2.0)

    assert not ledger.is_known(identity())
    assert ledger.enqueue(identity(), 1, "recipe", 3.0) == job_id


def test_the_next_job_is_the_one_asked_for_then_the_oldest_scan(ledger: Ledger) -> None:
    newer = queue(ledger, "newer.tif", mtime_ns=200)
    older = queue(ledger, "older.tif", mtime_ns=100)
    first = ledger.next_due(5.0, SCANS)
    ledger.bump(newer)
    bumped = ledger.next_due(5.0, SCANS)

    assert first is not None
    assert first.id == older
    assert bumped is not None
    assert bumped.id == newer


def test_a_job_in_back_off_is_not_due_until_its_time(ledger: Ledger) -> None:
    job = claim(ledger, queue(ledger))
    ledger.fail(job, Decision(JobState.QUEUED, "later", delay_seconds=30), 10.0)

    assert ledger.next_due(39.0, SCANS) is None
    assert ledger.next_due(41.0, SCANS) is not None


def test_a_clock_turned_back_by_a_day_does_not_hold_a_job_up(ledger: Ledger) -> None:
    job = claim(ledger, queue(ledger))
    ledger.fail(job, Decision(JobState.QUEUED, "later", delay_seconds=30), 200_000.0)

    assert ledger.next_due(200_000.0 - 86_400.0, SCANS) is not None
    assert ledger.next_due(200_000.0 - CLOCK_STEP_SECONDS / 2, SCANS) is None


@pytest.mark.parametrize("number", [3, FEW_DUE + 3])
def test_few_due_jobs_and_many_are_started_in_the_same_order(ledger: Ledger, number: int) -> None:
    for age in range(number, 0, -1):
        queue(ledger, f"frame{age}.tif", mtime_ns=age)
    put_off = claim(ledger, queue(ledger, "oldest.tif", mtime_ns=0))
    ledger.fail(put_off, Decision(JobState.QUEUED, "later", delay_seconds=30), 10.0)

    order = []
    for _ in range(3):
        job = ledger.next_due(20.0, SCANS)
        assert job is not None
        order.append(claim(ledger, job.id).identity.rel)

    assert order == ["frame1.tif", "frame2.tif", "frame3.tif"]


def test_a_job_of_a_root_that_is_away_is_not_due(ledger: Ledger) -> None:
    queue(ledger)

    assert ledger.next_due(5.0, frozenset({"other"})) is None


def test_retry_puts_a_quarantined_job_back_with_its_counts_at_zero(ledger: Ledger) -> None:
    job = claim(ledger, queue(ledger))
    ledger.fail(job, Decision(JobState.QUARANTINED, "bad", crashes=3, interrupts=2), 3.0)

    assert ledger.retry(job.id, 4.0)

    again = ledger.job(job.id)
    assert again is not None
    assert (again.state, again.crashes, again.interrupts, again.attempt) == (JobState.QUEUED, 0, 0, 1)


def test_a_scan_that_is_done_in_the_end_leaves_no_quarantined_job_behind(ledger: Ledger) -> None:
    bad = claim(ledger, queue(ledger))
    ledger.fail(bad, Decision(JobState.QUARANTINED, "it ends too early", failures=1), 3.0)
    job_id = ledger.enqueue(identity(size=20, mtime_ns=200), 1, "r", 4.0)
    assert job_id is not None
    ledger.finish(claim(ledger, job_id), JobState.DONE, {}, "", {}, 5.0)

    old = ledger.job(bad.id)
    assert old is not None
    assert old.state is JobState.SUPERSEDED
    assert old.reason == f"done by job {job_id}; it was quarantined: it ends too early"
    assert ledger.counts()[JobState.QUARANTINED] == 0


def test_a_scan_that_is_held_leaves_the_quarantined_job_to_be_seen(ledger: Ledger) -> None:
    bad = claim(ledger, queue(ledger))
    ledger.fail(bad, Decision(JobState.QUARANTINED, "bad", failures=1), 3.0)
    job_id = ledger.enqueue(identity(size=20, mtime_ns=200), 1, "r", 4.0)
    assert job_id is not None
    ledger.finish(claim(ledger, job_id), JobState.HELD, {}, "", {}, 5.0)

    assert ledger.counts()[JobState.QUARANTINED] == 1


def test_a_batch_is_on_disk_as_a_whole_or_not_at_all(database: Database) -> None:
    ledger = Ledger(database)
    with pytest.raises(LedgerError, match="cut"), ledger.batch():
        queue(ledger)
        raise LedgerError("cut")
    assert ledger.jobs() == []

    with ledger.batch():
        queue(ledger)
        with pytest.raises(ZeroDivisionError), database.transaction() as connection:
            connection.execute("UPDATE job SET reason = 'half'")
            raise ZeroDivisionError
    assert [job.reason for job in ledger.jobs()] == [""]


def test_a_done_job_is_not_retried(ledger: Ledger) -> None:
    job = claim(ledger, queue(ledger))
    ledger.finish(job, JobState.DONE, {}, "", {}, 3.0)

    assert not ledger.retry(job.id, 4.0)


def test_what_a_job_went_through_is_told_in_order(ledger: Ledger) -> None:
    job = claim(ledger, queue(ledger))
    ledger.finish(job, JobState.DONE, {"image": "a.tif"}, "f" * 64, {"total": 2.5}, 3.0)

    states = [state for _, state, _ in ledger.history(job.id)]
    done = ledger.job(job.id)

    assert states == ["queued", "running", "done"]
    assert done is not None
    assert (done.outputs, done.seconds) == ({"image": "a.tif"}, {"total": 2.5})


def test_overrides_come_back_as_they_were_given(ledger: Ledger) -> None:
    overrides = Overrides(Path("/masks/a.png"), "high")

    job_id = ledger.enqueue(identity(), 1, "recipe+1", 1.0, overrides=overrides)

    assert job_id is not None
    job = ledger.job(job_id)
    assert job is not None
    assert job.overrides == overrides


def test_found_receipts_are_known_and_never_replace_a_row(ledger: Ledger) -> None:
    queue(ledger, "known.tif")
    found = [FoundScan(identity(rel), "r", JobState.DONE, "0" * 64, {}) for rel in ("known.tif", "found.tif")]
    found[0] = FoundScan(identity("known.tif"), "recipe", JobState.DONE, "", {})

    assert ledger.adopt(found, 5.0) == 1
    assert ledger.is_known(identity("found.tif"))
    assert ledger.counts()[JobState.QUEUED] == 1


def found_sidecar(rel: str = "a_IR.tif") -> FoundScan:
    return FoundScan(identity(rel), COMPANION_RECIPE, JobState.DONE, "0" * 64, {"infrared_sidecar": rel})


def test_a_sidecar_published_with_its_scan_is_known_and_noting_it_again_changes_nothing(ledger: Ledger) -> None:
    ledger.note_companions([found_sidecar()], 5.0)
    ledger.note_companions([found_sidecar()], 6.0)

    (job,) = ledger.jobs()
    assert (job.state, job.outputs, job.finished) == (JobState.DONE, {"infrared_sidecar": "a_IR.tif"}, 5.0)
    assert ledger.is_known(identity("a_IR.tif"))


def test_a_sidecar_that_was_set_aside_or_queued_is_done_when_its_scan_took_it_along(ledger: Ledger) -> None:
    ledger.refuse(identity("alone_IR.tif"), 1, COMPANION_RECIPE, "its scan did not come", 1.0)
    ledger.enqueue(identity("late_IR.tif"), 1, COMPANION_RECIPE, 1.0)

    ledger.note_companions([found_sidecar("alone_IR.tif"), found_sidecar("late_IR.tif")], 5.0)

    assert [(job.state, job.reason) for job in ledger.jobs()] == [(JobState.DONE, "")] * 2
    assert ledger.history(1)[-1] == (5.0, "done", "published with its scan")


def test_a_sidecar_whose_own_publishing_was_begun_is_left_to_it(ledger: Ledger) -> None:
    job_id = ledger.enqueue(identity("late_IR.tif"), 1, COMPANION_RECIPE, 1.0)
    assert job_id is not None
    job = claim(ledger, job_id)
    ledger.plan(job, "[]")
    ledger.fail(job, RETRY, 3.0)

    ledger.note_companions([found_sidecar("late_IR.tif")], 5.0)

    assert [job.state for job in ledger.jobs()] == [JobState.QUEUED]


def test_counts_are_of_scans_and_of_sidecars_that_are_not_done(ledger: Ledger) -> None:
    ledger.note_companions([found_sidecar()], 5.0)
    ledger.refuse(identity("alone_IR.tif"), 1, COMPANION_RECIPE, "its scan did not come", 1.0)

    counts = ledger.counts()

    assert (counts[JobState.DONE], counts[JobState.QUARANTINED]) == (0, 1)


def test_a_failed_transaction_leaves_nothing_and_the_connection_usable(ledger: Ledger, database: Database) -> None:
    with pytest.raises(LedgerError), database.transaction() as connection:
        connection.execute("INSERT INTO meta VALUES ('half', 'done')")
        connection.execute("INSERT INTO nowhere VALUES (1)")

    assert database.read("SELECT * FROM meta") == []
    queue(ledger)


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with Database.open(tmp_path / "ledger.sqlite3") as database, database.transaction() as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    with pytest.raises(LedgerError, match="newer"):
        Database.open(tmp_path / "ledger.sqlite3")


def test_a_damaged_file_is_moved_aside_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"no database at all" * 100)

    database, aside = Database.open_or_start_over(path, now=0.0)

    database.close()
    assert aside is not None
    assert aside.read_bytes() == b"no database at all" * 100
    assert database.is_new


class LedgerMachine(RuleBasedStateMachine):
    """Random histories of a few files, beside a dictionary that says what each job's row must be."""

    jobs = Bundle("jobs")
    running = Bundle("running")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database.open(Path(self.folder.name) / "ledger.sqlite3")
        self.ledger = Ledger(self.database)
        self.model: dict[int, tuple[Identity, JobState, int]] = {}
        self.now = 1.0

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.folder.cleanup()

    def _set(self, job_id: int, state: JobState, attempt: int | None = None) -> None:
        known, _, old = self.model[job_id]
        self.model[job_id] = (known, state, old if attempt is None else attempt)

    @rule(target=jobs, rel=st.sampled_from("ab"), size=st.integers(1, 3))
    def enqueue(self, rel: str, size: int) -> int:
        this = identity(rel, size)
        before = {job_id: state for job_id, (known, state, _) in self.model.items() if known == this}
        job_id = self.ledger.enqueue(this, 1, "recipe", self.now)
        revivable = {JobState.GONE, JobState.SUPERSEDED}
        if before and not set(before.values()) & revivable:
            assert job_id is None
            return next(iter(before))
        assert job_id is not None
        self.model[job_id] = (this, JobState.QUEUED, self.model.get(job_id, (this, JobState.QUEUED, 0))[2])
        for other, (known, state, _) in self.model.items():
            if known.rel == rel and known.size != size and state is JobState.QUEUED:
                self._set(other, JobState.SUPERSEDED)
        return job_id

    @rule(target=running)
    def take(self) -> Job | None:
        running = {known.rel for known, state, _ in self.model.values() if state is JobState.RUNNING}
        free = [
            known for known, state, _ in self.model.values() if state is JobState.QUEUED and known.rel not in running
        ]
        due = self.ledger.next_due(self.now, SCANS)
        assert (due.identity in free) if due is not None else not free
        if due is None:
            return None
        job = self.ledger.claim(due.id, "me", self.now)
        assert job is not None
        assert job.attempt == self.model[job.id][2] + 1
        self._set(job.id, JobState.RUNNING, job.attempt)
        return job

    @rule(job=running, state=st.sampled_from([JobState.DONE, JobState.HELD]))
    def finish(self, job: Job | None, state: JobState) -> None:
        if job is not None:
            self._end(job, state, self.ledger.finish(job, state, {}, "", {}, self.now))

    @rule(job=running, state=st.sampled_from([JobState.QUEUED, JobState.QUARANTINED]))
    def fail(self, job: Job | None, state: JobState) -> None:
        if job is not None:
            self._end(job, state, self.ledger.fail(job, Decision(state, "why"), self.now))

    @rule(job=running, state=st.sampled_from([JobState.GONE, JobState.SUPERSEDED]))
    def drop(self, job: Job | None, state: JobState) -> None:
        if job is not None:
            self._end(job, state, self.ledger.drop(job, state, "why", self.now))

    def _end(self, job: Job, state: JobState, is_ours: bool) -> None:
        _, is_now, attempt = self.model[job.id]
        assert is_ours == (is_now is JobState.RUNNING and attempt == job.attempt)
        if is_ours:
            self._set(job.id, state)

    @rule(job_id=consumes(jobs))
    def retry(self, job_id: int) -> None:
        can = self.model[job_id][1] in {JobState.QUARANTINED, JobState.QUEUED}
        assert self.ledger.retry(job_id, self.now) == can
        if can:
            self._set(job_id, JobState.QUEUED)

    @rule()
    def restart(self) -> None:
        path = self.database.path
        self.database.close()
        self.database = Database.open(path)
        self.ledger = Ledger(self.database)

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        if hasattr(self, "ledger"):
            rows = {job.id: (job.identity, job.state, job.attempt) for job in self.ledger.jobs()}
            assert rows == self.model


LedgerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestLedgerAgainstADictionary = LedgerMachine.TestCase
