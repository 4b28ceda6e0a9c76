"""The status as text, and its live view."""

import io
from dataclasses import replace

import pytest

from spotlessd.commands.live_status import ENTER, LEAVE, watch_status
from spotlessd.commands.status_text import WAITING_SHOWN, status_lines
from spotlessd.commands.wording import duration_text, printable
from spotlessd.errors import LedgerError
from spotlessd.job import Identity, Job, JobState
from spotlessd.monitoring.status import BY_A_PERSON, JobInHand, Pause, Snapshot, StationStatus, WorkerFacts
from spotlessd.sqlite.board import WaitingFile
from spotlessd.sqlite.figures import QueueFigures, Rate

NOW = 100_000.0
SNAPSHOT = Snapshot(
    version="0",
    pid=1,
    started=NOW - 3700,
    written=NOW,
    worker="busy",
    worker_pid=2,
    device="CPU",
    precision="float32",
    models=(),
    memory_mb=50.0,
    worker_memory_mb=400.0,
    worker_restarts=0,
    job=JobInHand(3, "a.tif", 1, "detect", 0.5, NOW - 4),
    paused="",
)
STATUS = StationStatus(
    is_running=True,
    snapshot=SNAPSHOT,
    counts=dict.fromkeys(JobState, 0) | {JobState.QUEUED: 2, JobState.RUNNING: 1},
    waiting=(),
    oldest_queued_seconds=65.0,
    paused="",
    degraded=(),
    at=NOW,
    rate=Rate(jobs=4, seconds=40.0, size=80_000_000),
    queue=QueueFigures(2, 40_000_000),
)


def two_workers() -> StationStatus:
    """One works, the other cannot start the next job yet."""
    busy = WorkerFacts("GPU 0", "busy", 2, "cuda", "bfloat16", (), 400.0, 0, SNAPSHOT.job)
    idle = WorkerFacts("GPU 1", "idle", 3, "cuda", "bfloat16", (), 300.0, 1, None, "job 9 runs alone")
    return replace(STATUS, snapshot=replace(SNAPSHOT, workers=(busy, idle)))


def queued(job_id: int = 7, **values: object) -> Job:
    job = Job(id=job_id, identity=Identity("scans", f"{job_id}.tif", 1, 1), inode=1, recipe="r", state=JobState.QUEUED)
    return replace(job, **values)  # type: ignore[arg-type]


def with_queue(*jobs: Job, **values: object) -> StationStatus:
    return replace(STATUS, queue=QueueFigures(len(jobs), 1, jobs), **values)  # type: ignore[arg-type]


def text_of(status: StationStatus) -> str:
    return "\n".join(status_lines(status))


def test_device_rate_and_the_job_in_hand_are_told() -> None:
    text = text_of(STATUS)

    assert "worker: busy on CPU (float32), 400 MB" in text
    assert "rate: 10.0 s a scan, 2.0 MB/s" in text
    assert "now: job 3, a.tif: detect [##########..........] 50%, attempt 1, since 4 s" in text
    assert "up 1 h 1 min" in text


def test_the_end_is_estimated_from_the_bytes_queued_and_the_job_in_hand() -> None:
    assert STATUS.eta_seconds == pytest.approx(20.0 + 6.0)
    assert "queue done in about 26 s" in text_of(STATUS)
    assert "oldest in the queue: 1 min 5 s" in text_of(STATUS)


def test_each_of_several_workers_is_told_by_itself() -> None:
    text = text_of(two_workers())

    assert "worker GPU 0: busy on cuda (bfloat16), job 3, 400 MB\n" in text
    assert "worker GPU 1: idle on cuda (bfloat16), job 9 runs alone, 300 MB, restarts: 1\n" in text
    assert text.count("now: job ") == 1


def test_two_workers_are_estimated_to_need_half_the_time() -> None:
    assert two_workers().eta_seconds == pytest.approx((20.0 + 6.0) / 2)


def test_a_scan_that_is_tried_again_later_is_waited_for() -> None:
    assert with_queue(queued(not_before=NOW + 40)).eta_seconds == pytest.approx(50.0)


@pytest.mark.parametrize("values", [{"rate": None}, {"is_running": False}, {"paused": BY_A_PERSON}])
def test_no_end_is_told_where_none_can_be_known(values: dict[str, object]) -> None:
    assert replace(STATUS, **values).eta_seconds is None  # type: ignore[arg-type]


def test_a_queued_scan_that_waits_says_why() -> None:
    status = with_queue(queued(not_before=NOW + 40, reason="the worker died."), queued(8), queued(9, reason="stopped."))

    text = text_of(status)

    assert "next: job 7, 7.tif: again in 40 s after: the worker died." in text
    assert "next: job 8, 8.tif\n" in text + "\n"
    assert "next: job 9, 9.tif: again, after: stopped." in text


def test_a_queued_scan_whose_folder_is_away_says_so() -> None:
    assert "7.tif: its folder is away" in text_of(with_queue(queued(), degraded=("root scans: unplugged",)))


def test_files_that_wait_are_told_with_their_reason_up_to_a_number() -> None:
    waiting = tuple(
        WaitingFile("scans", f"{index}.tif", "still growing", NOW - 9) for index in range(WAITING_SHOWN + 3)
    )

    text = text_of(replace(STATUS, waiting=waiting))

    assert "waiting: 0.tif: still growing (since 9 s)" in text
    assert "waiting: and 3 more" in text


def test_a_pause_tells_when_it_ends() -> None:
    with_end = replace(STATUS, paused=BY_A_PERSON, pause=Pause(NOW, NOW + 60))
    without = replace(STATUS, paused=BY_A_PERSON, pause=Pause(NOW))

    assert "paused: by a person, until " in text_of(with_end)
    assert "until `spotlessd resume`" in text_of(without)


class Clock:
    """Lets a view go round so often, then is Ctrl-C."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def sleep(self, _: float) -> None:
        self.left -= 1
        if self.left <= 0:
            raise KeyboardInterrupt


def test_the_view_on_a_terminal_ends_with_ctrl_c_and_leaves_the_terminal_as_it_was() -> None:
    stream = io.StringIO()
    quarantined = replace(STATUS, counts={**STATUS.counts, JobState.QUARANTINED: 1})

    code = watch_status(lambda: quarantined, stream, is_screen=True, sleep=Clock(2).sleep)

    assert code == 1
    assert stream.getvalue().startswith(ENTER)
    assert stream.getvalue().endswith(LEAVE)
    assert stream.getvalue().count("detect [####") == 2


def test_the_view_never_draws_more_than_the_terminal_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "6")
    stream = io.StringIO()

    watch_status(lambda: STATUS, stream, is_screen=True, sleep=Clock(1).sleep)

    drawn = stream.getvalue().removeprefix(ENTER).removesuffix(LEAVE)
    lines = drawn.replace("\x1b[H", "").replace("\x1b[J", "").replace("\x1b[K", "").split("\r\n")[:-1]
    assert len(lines) == 5
    assert max(len(line) for line in lines) == 29


def test_without_a_terminal_a_line_is_written_for_each_change_only() -> None:
    stream = io.StringIO()
    later = replace(STATUS, snapshot=replace(SNAPSHOT, job=None))
    seen = iter([STATUS, STATUS, later])

    watch_status(lambda: next(seen), stream, is_screen=False, sleep=Clock(3).sleep)

    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "job 3 a.tif detect 50%" in lines[0]
    assert "\x1b" not in stream.getvalue()


def test_a_ledger_that_cannot_be_read_for_a_moment_does_not_end_the_view() -> None:
    stream = io.StringIO()
    answers: list[StationStatus | LedgerError] = [LedgerError("it is locked."), STATUS]

    def read() -> StationStatus:
        answer = answers.pop(0)
        if isinstance(answer, LedgerError):
            raise answer
        return answer

    watch_status(read, stream, is_screen=False, sleep=Clock(2).sleep)

    assert ["it is locked." in line for line in stream.getvalue().splitlines()] == [True, False]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (90000, "1 d 1 h"), (-5, "0 s")],
)
def test_a_length_of_time_has_two_parts_at_most(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_control_characters_and_lone_surrogates_are_escaped() -> None:
    assert printable("ä\x1b[0m\n\udcff\x9b") == "ä\\x1b[0m\n\\udcff\\x9b"


def test_a_waiting_file_is_told_with_its_root_where_there_are_several() -> None:
    one = replace(STATUS, waiting=(WaitingFile("rolls", "a.tif", "still growing", NOW - 5),))
    two = replace(STATUS, waiting=(*one.waiting, WaitingFile("sheets", "a.tif", "still growing", NOW - 5)))

    assert "waiting: a.tif: still growing" in text_of(one)
    assert "waiting: rolls: a.tif: still growing" in "\n".join(status_lines(one, has_roots=True))
    assert "waiting: sheets: a.tif: still growing" in text_of(two)
