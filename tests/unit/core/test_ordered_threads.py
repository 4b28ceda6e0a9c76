"""Work on several threads comes back in order, bounded, and with its errors."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from drawing_tiff import grainy, write

from spotless_core.image_io.ordered_threads import AHEAD, MAX_THREADS, map_in_order, usable_threads
from spotless_core.image_io.tiff import TiffScan
from spotless_core.photo import Edit


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    turn = threading.Event()

    def work(item: int) -> int:
        if item == 0 and threads > 1:
            turn.wait(5)  # the first ends last
        turn.set()
        return item * item

    assert list(map_in_order(work, range(40), threads)) == [item * item for item in range(40)]


def test_several_threads_are_at_work_at_once() -> None:
    meeting = threading.Barrier(3, timeout=5)

    assert list(map_in_order(lambda _: meeting.wait() >= 0, range(3), 3)) == [True] * 3


def test_few_results_wait_for_a_slow_caller() -> None:
    begun: list[int] = []
    results = map_in_order(lambda item: begun.append(item) or item, range(1000), 2)

    next(results)

    assert len(begun) <= 2 * AHEAD + 1
    results.close()


def test_an_error_comes_where_its_result_was_due_and_ends_the_threads() -> None:
    def work(item: int) -> int:
        if item == 7:
            raise ValueError("seven")
        return item

    seen: list[int] = []
    with pytest.raises(ValueError, match="seven"):
        for result in map_in_order(work, range(100), 3):
            seen.append(result)  # noqa: PERF402 - the loop is the caller

    assert seen == list(range(7))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("codec")]


def test_never_more_threads_than_cores_or_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(6), raising=False)

    assert [usable_threads(asked) for asked in (0, 1, 4, 9)] == [6, 1, 4, 6]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    assert usable_threads(0) == MAX_THREADS


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "packbits", "lzma"])
def test_the_file_is_the_same_with_one_thread_and_with_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    samples = grainy(200, 100, 3)
    source = write(tmp_path / "scan.tif", samples, compression=compression, rowsperstrip=4)
    mask = np.random.default_rng(3).random((200, 100)) < 0.01
    written = []

    for threads in (1, 4):
        with TiffScan(source, 10, threads=threads) as scan:
            scan.write_restored(tmp_path / "out.tif", [Edit(0, 0, np.flip(samples, 0), mask)])
            scan.check_restored(tmp_path / "out.tif", mask)
        written.append((tmp_path / "out.tif").read_bytes())

    assert written[0] == written[1] != source.read_bytes()
