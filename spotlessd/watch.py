"""Wake the loop when something happens in a watched folder. Events are a hint: the regular full look finds all.

Comes in: the roots and a function to call with the root's name. Polled roots are not watched. Promise: no failure in
here ends the service: a dead thread is rebuilt by `tend`, a lost event queue or a folder that was exchanged asks for a
full look, and a root that the kernel will not watch is polled instead, with one warning.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from loguru import logger
from watchdog.events import (
    EVENT_TYPE_CLOSED,
    EVENT_TYPE_CREATED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch

from spotlessd.folders.roots import Root

WAKING_EVENTS = frozenset(
    {EVENT_TYPE_CLOSED, EVENT_TYPE_CREATED, EVENT_TYPE_DELETED, EVENT_TYPE_MODIFIED, EVENT_TYPE_MOVED}
)
"""Opening and reading raise events too; they are left out, or our own reading would wake us."""
OVERFLOW_LOGGER = "watchdog.observers.inotify_c"
STOP_SECONDS = 5.0

FolderId = tuple[int, int]


class Watcher:
    """Owns the observer thread. `on_change` is called from that thread, with the name of the root.

    `overflows`: how often the kernel's event queue was found to have overflowed.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        on_change: Callable[[str], None],
        make_observer: Callable[[], BaseObserver] = Observer,
    ) -> None:
        self._roots = roots
        self._on_change = on_change
        self._make_observer = make_observer
        self._observer: BaseObserver | None = None
        self._watches: dict[str, tuple[ObservedWatch, FolderId]] = {}
        self._overflow = _OverflowFlag()
        self.overflows = 0

    def watch(self, roots: Sequence[Root]) -> None:
        """Watch these roots from now on, instead of those before; `overflows` goes on."""
        self.stop()
        self._roots = roots
        self.start()

    def start(self) -> None:
        """Start watching. A root that is away is taken up by `tend` when it is back."""
        logging.getLogger(OVERFLOW_LOGGER).addHandler(self._overflow)
        self._build()

    def stop(self) -> None:
        """Stop watching; safe to call twice and before `start`."""
        logging.getLogger(OVERFLOW_LOGGER).removeHandler(self._overflow)
        self._tear_down()

    def tend(self) -> bool:
        """Repair what is broken. Returns whether events may have been lost, so that a full look is due."""
        is_rescan_needed = False
        if self._overflow.take():
            self.overflows += 1
            logger.warning("the kernel's event queue overflowed; looking at every folder.")
            is_rescan_needed = True
        if self._is_broken():
            logger.warning("watching had stopped; it was started again.")
            self._tear_down()
            self._build()
            return True
        for root in self._roots:
            known = self._watches.get(root.name)
            if known is not None and known[1] != _folder_id(root.input):
                self._unwatch(root.name)
                is_rescan_needed = True
            if root.name not in self._watches and self._watch(root):
                is_rescan_needed = True
        return is_rescan_needed

    def _build(self) -> None:
        try:
            self._observer = self._make_observer()
            self._observer.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no new thread can be started
            self._observer = None
            for root in self._roots:
                _poll_instead(root, str(error))
            return
        for root in self._roots:
            self._watch(root)

    def _tear_down(self) -> None:
        observer, self._observer = self._observer, None
        self._watches.clear()
        if observer is not None:
            observer.stop()
            if observer.ident is not None:
                observer.join(STOP_SECONDS)

    def _watch(self, root: Root) -> bool:
        """Start to watch a root; False if it is polled, away, or cannot be watched."""
        folder = _folder_id(root.input)
        if root.is_polled or folder is None or self._observer is None:
            return False
        handler = _Waker(root.name, self._on_change)
        try:
            watch = self._observer.schedule(handler, str(root.input), recursive=True)
        except FileNotFoundError:
            return False
        except OSError as error:
            _poll_instead(root, error.strerror or str(error))
            return False
        self._watches[root.name] = watch, folder
        return True

    def _unwatch(self, name: str) -> None:
        watch, _ = self._watches.pop(name)
        if self._observer is not None:
            try:
                self._observer.unschedule(watch)
            except (KeyError, OSError) as error:
                logger.debug("{}: its watch was gone already: {!r}", name, error)

    def _is_broken(self) -> bool:
        """Whether the observer or the emitter of any watched root has died."""
        if not self._watches:
            return self._observer is not None and not self._observer.is_alive()
        if self._observer is None or not self._observer.is_alive():
            return True
        alive: set[ObservedWatch] = {emitter.watch for emitter in _emitters(self._observer) if emitter.is_alive()}
        return any(
            watch not in alive and _folder_id(root.input) is not None
            for root in self._roots
            if root.name in self._watches
            for watch, _ in [self._watches[root.name]]
        )


class _Waker(FileSystemEventHandler):
    """Calls back for one root. An exception in here would end watchdog's thread for ever, so none leaves."""

    def __init__(self, name: str, on_change: Callable[[str], None]) -> None:
        self._name = name
        self._on_change = on_change

    def dispatch(self, event: FileSystemEvent) -> None:
        if event.event_type in WAKING_EVENTS:
            try:
                self._on_change(self._name)
            except Exception as error:  # noqa: BLE001  see the class's docstring
                logger.error("waking the loop failed: {!r}", error)


class _OverflowFlag(logging.Handler):
    """Listens for watchdog's only sign of a lost event queue: a line in its log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._is_set = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._is_set.set()

    def take(self) -> bool:
        """Return whether it overflowed since the last call."""
        was_set = self._is_set.is_set()
        self._is_set.clear()
        return was_set


def _emitters(observer: BaseObserver) -> set[EventEmitter]:
    return observer.emitters.copy()


def _folder_id(folder: Path) -> FolderId | None:
    """Tell one folder from another of the same name; None if it is away."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _poll_instead(root: Root, reason: str) -> None:
    if not root.is_polled:
        root.is_polled = True
        logger.warning("{}: it cannot be watched ({}); it is polled instead. See: spotlessd doctor", root.input, reason)
