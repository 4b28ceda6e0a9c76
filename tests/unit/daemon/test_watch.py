"""Events wake the loop, and nothing that breaks in the watching stays broken."""

import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

import pytest
from watchdog.events import FileCreatedEvent, FileOpenedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch

from spotlessd.folders.roots import NameRules, Root
from spotlessd.watch import OVERFLOW_LOGGER, Watcher

DEADLINE_SECONDS = 10.0


class Wakes:
    """Collects what the watcher reports."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._names: list[str] = []

    def __call__(self, name: str) -> None:
        with self._lock:
            self._names.append(name)

    def take(self) -> list[str]:
        with self._lock:
            names, self._names = self._names, []
        return names


class FakeObserver(BaseObserver):
    """An observer whose emitters watch nothing, and which refuses a watch on demand."""

    refusal: OSError | None = None

    def __init__(self) -> None:
        super().__init__(IdleEmitter, timeout=0.05)

    def schedule(
        self,
        event_handler: FileSystemEventHandler,
        path: str | Path,
        *,
        recursive: bool = False,
        event_filter: list[type[FileSystemEvent]] | None = None,
        follow_symlink: bool = False,
    ) -> ObservedWatch:
        if self.refusal is not None:
            raise self.refusal
        return super().schedule(event_handler, path, recursive=recursive)


class IdleEmitter(EventEmitter):
    def queue_events(self, timeout: float) -> None:
        time.sleep(min(timeout, 0.01))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def make_root(folder: Path, *, is_polled: bool = False) -> Root:
    folder.mkdir(exist_ok=True)
    return Root(
        "scans", folder, folder.parent / "out", "s", NameRules((".tif",)), is_network=False, is_polled=is_polled
    )


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return make_root(tmp_path / "scans")


@pytest.fixture
def watcher(root: Root, wakes: Wakes) -> Iterator[Watcher]:
    watcher = Watcher([root], wakes)
    watcher.start()
    yield watcher
    watcher.stop()


def fake_watcher(root: Root, wakes: Wakes) -> tuple[Watcher, list[FakeObserver]]:
    made: list[FakeObserver] = []

    def make() -> FakeObserver:
        made.append(FakeObserver())
        return made[-1]

    return Watcher([root], wakes, make), made


def test_a_new_file_wakes_the_loop_with_the_roots_name(watcher: Watcher, root: Root, wakes: Wakes) -> None:
    (root.input / "a.tif").write_bytes(b"x")

    until(wakes.take)


def test_a_file_in_a_new_subfolder_wakes_the_loop(watcher: Watcher, root: Root, wakes: Wakes) -> None:
    (root.input / "roll").mkdir()
    until(wakes.take)
    until(lambda: (root.input / "roll" / "a.tif").write_bytes(b"x") and wakes.take())


def test_reading_a_file_does_not_wake_the_loop(root: Root, wakes: Wakes) -> None:
    watcher, made = fake_watcher(root, wakes)
    watcher.start()
    (emitter,) = made[0].emitters

    emitter.queue_event(FileOpenedEvent("a.tif"))
    emitter.queue_event(FileCreatedEvent("a.tif"))

    until(made[0].event_queue.empty)
    watcher.stop()
    assert wakes.take() == ["scans"]


def test_nothing_is_needed_while_all_is_well(watcher: Watcher) -> None:
    assert not watcher.tend()


def test_an_error_in_the_callback_does_not_end_the_watching(root: Root) -> None:
    calls: list[str] = []

    def failing(name: str) -> None:
        calls.append(name)
        raise ValueError(name)

    watcher = Watcher([root], failing)
    watcher.start()
    (root.input / "a.tif").write_bytes(b"x")
    until(lambda: calls)
    calls.clear()
    (root.input / "b.tif").write_bytes(b"x")
    until(lambda: calls)

    assert not watcher.tend()
    watcher.stop()


def test_an_overflow_asks_for_one_full_look(watcher: Watcher) -> None:
    logging.getLogger(OVERFLOW_LOGGER).warning("Inotify queue overflowed; filesystem events were lost")

    assert watcher.tend()
    assert not watcher.tend()


def test_a_dead_emitter_is_rebuilt(root: Root, wakes: Wakes) -> None:
    watcher, made = fake_watcher(root, wakes)
    watcher.start()
    for emitter in made[0].emitters:
        emitter.stop()
        emitter.join()

    assert watcher.tend()

    assert len(made) == 2
    assert not watcher.tend()
    watcher.stop()


def test_a_dead_observer_is_rebuilt(root: Root, wakes: Wakes) -> None:
    watcher, made = fake_watcher(root, wakes)
    watcher.start()
    made[0].stop()
    made[0].join()

    assert watcher.tend()

    assert made[1].is_alive()
    watcher.stop()


def test_a_folder_that_was_exchanged_is_watched_anew(watcher: Watcher, root: Root, wakes: Wakes) -> None:
    shutil.move(root.input, root.input.with_name("old"))
    root.input.mkdir()

    assert watcher.tend()

    wakes.take()
    (root.input / "a.tif").write_bytes(b"x")
    until(wakes.take)


def test_a_folder_that_is_away_at_the_start_is_taken_up_when_it_comes(tmp_path: Path, wakes: Wakes) -> None:
    root = make_root(tmp_path / "scans")
    root.input.rmdir()
    watcher = Watcher([root], wakes)
    watcher.start()
    while_away = watcher.tend()
    root.input.mkdir()

    assert not while_away
    assert watcher.tend()
    (root.input / "a.tif").write_bytes(b"x")
    until(wakes.take)
    watcher.stop()


def test_a_polled_root_is_not_watched(tmp_path: Path, wakes: Wakes) -> None:
    root = make_root(tmp_path / "scans", is_polled=True)
    watcher, made = fake_watcher(root, wakes)

    watcher.start()

    assert made[0].emitters == set()
    assert not watcher.tend()
    watcher.stop()


def test_a_root_beyond_the_watch_limit_is_polled(root: Root, wakes: Wakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeObserver, "refusal", OSError(errno.ENOSPC, "inotify watch limit reached"))
    watcher, _ = fake_watcher(root, wakes)

    watcher.start()

    assert root.is_polled
    assert not watcher.tend()
    watcher.stop()


def test_stopping_twice_or_without_a_start_is_harmless(root: Root, wakes: Wakes) -> None:
    watcher = Watcher([root], wakes)

    watcher.stop()
    watcher.start()
    watcher.stop()
    watcher.stop()
