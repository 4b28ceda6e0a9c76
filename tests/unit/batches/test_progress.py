"""How a batch's progress is worded and shown, and how fast it is said to go."""

import io
import time
from pathlib import Path

from spotlessd.batches.progress import CLEAR_LINE, Pace, Progress, ProgressNotifier, Standing, line_of
from spotlessd.job import Identity, JobState
from spotlessd.ledger import Ledger
from spotlessd.sqlite.database import Database


def counts(**numbers: int) -> dict[JobState, int]:
    return {state: numbers.get(str(state), 0) for state in JobState}


def test_the_line_says_how_far_how_long_and_what_went_wrong() -> None:
    standing = Standing(counts(queued=3700, done=1230, held=3, quarantined=2), found=5000)

    line = line_of(standing, 3765 / 12_000)

    assert line == "1,235 of 5,000 scans (24 %), about 3 h 20 min left, 3 held, 2 quarantined, 1,130 an hour"


def test_nothing_is_said_of_the_time_before_the_first_scan_is_done() -> None:
    pace = Pace()
    pace.note(0.0, 0)

    assert pace.per_second(60.0, 0) is None
    assert "left" not in line_of(Standing(counts(queued=5)), None)


def test_the_pace_is_that_of_the_last_five_minutes() -> None:
    pace = Pace()
    for second in range(0, 1201, 5):
        pace.note(float(second), second if second <= 600 else 600 + (second - 600) * 4)

    assert pace.per_second(1200.0, 3000) == 4.0


def test_the_pace_of_a_run_that_goes_on_does_not_count_what_was_done_before() -> None:
    pace = Pace()
    pace.note(100.0, 50_000)

    assert pace.per_second(110.0, 50_020) == 2.0


def test_scans_that_were_given_up_as_gone_are_not_counted_as_work() -> None:
    assert Standing(counts(done=3, gone=2, superseded=1)).total == 3


class Shown:
    """A batch's ledger with queued and done jobs, and its progress on a stream."""

    def __init__(self, folder: Path, *, is_screen: bool) -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        path = folder / "ledger.sqlite3"
        self._database = Database.open(path)
        self.ledger = Ledger(self._database)
        self.progress = Progress(
            path, self.stream, found=40, grace_seconds=120, is_screen=is_screen, clock=lambda: self.now
        )

    def add(self, name: str) -> None:
        job = self.ledger.enqueue(Identity("batch", name, 1, 1), 1, "recipe", time.time())
        assert job is not None
        self.ledger.give_up(job, JobState.QUARANTINED, "bad", time.time())

    def after(self, seconds: float) -> str:
        before = len(self.stream.getvalue())
        self.now += seconds
        self.progress.tick()
        return self.stream.getvalue()[before:]

    def close(self) -> None:
        self.progress.close()
        self._database.close()


def test_on_a_terminal_the_line_is_drawn_again_and_the_log_stands_above_it(tmp_path: Path) -> None:
    shown = Shown(tmp_path, is_screen=True)

    first = shown.after(2.0)
    shown.progress.write("a warning\n")
    text = shown.stream.getvalue()
    second = shown.after(2.0)
    shown.close()

    assert first.startswith(f"{CLEAR_LINE}0 of 40 scans (0 %)")
    assert "\n" not in first + second
    assert text.endswith(f"{CLEAR_LINE}a warning\n")
    assert shown.stream.getvalue().endswith(CLEAR_LINE)


def test_elsewhere_a_line_comes_each_minute_or_twentieth_and_no_sooner(tmp_path: Path) -> None:
    shown = Shown(tmp_path, is_screen=False)

    lines = [shown.after(2.0), shown.after(2.0)]
    shown.add("a.tif")
    lines.append(shown.after(2.0))
    shown.add("b.tif")
    lines += [shown.after(2.0), shown.after(2.0), shown.after(60.0)]
    shown.close()

    assert [line.partition(" scans")[0] for line in lines] == ["0 of 40", "", "", "2 of 40", "", "2 of 40"]


def test_a_ledger_that_cannot_be_read_and_a_stream_that_is_closed_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"no database at all" * 100)
    broken = Progress(tmp_path / "ledger.sqlite3", io.StringIO(), found=1, grace_seconds=1, is_screen=True)
    broken.tick()
    broken.close()
    shown = Shown(tmp_path / "other", is_screen=False)
    shown.stream.close()

    shown.now = 5.0
    shown.progress.tick()
    shown.progress.stopping()
    shown.close()

    assert shown.progress.is_stopping


def test_a_stop_before_the_end_says_how_long_the_scans_in_hand_have(tmp_path: Path) -> None:
    shown = Shown(tmp_path, is_screen=False)

    notifier = ProgressNotifier(shown.progress)
    notifier.stopping()
    ended = shown.progress.is_stopping
    notifier.alive()
    notifier.alive()
    shown.close()

    assert not ended  # the service says so at every end; only for a stop its loop goes on
    assert shown.progress.is_stopping
    assert shown.stream.getvalue().count("the scans in hand have 2 min to end") == 1
