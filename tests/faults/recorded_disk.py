"""What a disk may hold after the power went: rebuilt from a record of what was written and of what was synced.

`DiskRecord` notes, in the process of the daemon, every name made, linked, renamed or removed under a folder, every
fsync of a file (with the bytes it then has) and of a folder, and every commit of the ledger (with the bytes of its two
files: SQLite syncs them before a commit returns, which `PRAGMA synchronous` = FULL promises and a test checks).
`rebuild` lays out one legal state of the folder after a cut behind any event. POSIX promises no more than this: bytes
of a file that was not synced may be missing or zero, and of the changes to a folder since its last fsync any part, in
any order, may be on disk (Pillai et al., "All file systems are not created equal", OSDI 2014, section 2).
"""

import io
import os
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spotlessd.sqlite.database import Database

Keep = Callable[[str], bool]
"""Whether an unsynced change ("add" or "remove") of a folder reached the disk."""
MODES: tuple[str, ...] = ("nothing", "all", "only removals", "only additions", "some")


@dataclass(frozen=True)
class Event:
    """One thing done to the disk. `kind`: make, add, remove, rename, sync file, sync folder, commit."""

    kind: str
    path: str = ""
    other: str = ""
    inode: int = 0
    content: bytes = b""
    log: bytes = b""


@dataclass
class DiskRecord:
    """The events under `folder`, in order, saved at every commit. `start` patches what the daemon calls, for good."""

    folder: Path
    saved_as: Path
    events: list[Event] = field(default_factory=list)

    def start(self) -> None:
        """Note everything that happens to the folder from here on, to the end of this process."""
        for name in ("link", "unlink", "remove", "rename", "replace", "mkdir", "fsync"):
            setattr(os, name, _told(getattr(os, name), getattr(self, f"_on_{name}")))
        os.open = self._opening(os.open, lambda _, flags, *__: bool(flags & os.O_CREAT))
        io.open = self._opening(io.open, lambda _, mode="r", *__: mode[0] in "wxa")
        Database.transaction = self._committing(Database.transaction)  # type: ignore[method-assign]

    def _opening(self, real: Callable[..., Any], may_make: Callable[..., bool]) -> Callable[..., Any]:
        def open_and_note(path: Any, *rest: Any, **words: Any) -> Any:
            is_new = not isinstance(path, int) and may_make(path, *rest) and not os.path.lexists(path)
            opened = real(path, *rest, **words)
            if is_new:
                self._note("add", path)
            return opened

        return open_and_note

    def _committing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def transaction(database: Database) -> Iterator[Any]:
            with real(database) as connection:
                yield connection
            files = [_bytes_of(Path(f"{database.path}{suffix}")) for suffix in ("", "-wal")]
            self.events.append(Event("commit", content=files[0], log=files[1]))
            self.saved_as.write_bytes(pickle.dumps(self.events))

        return transaction

    def _on_fsync(self, descriptor: Any) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            self._note("sync folder", path)
        elif self._is_ours(path):
            self.events.append(Event("sync file", inode=path.stat().st_ino, content=_bytes_of(path)))

    def _on_link(self, _: Any, target: Any) -> None:
        self._note("add", target)

    def _on_unlink(self, path: Any) -> None:
        self._note("remove", path)

    def _on_rename(self, source: Any, target: Any) -> None:
        if self._is_ours(source):
            self.events.append(Event("rename", str(source), str(target), Path(target).stat().st_ino))

    def _on_mkdir(self, path: Any, *_: Any) -> None:
        self._note("make", path)

    _on_remove, _on_replace = _on_unlink, _on_rename

    def _is_ours(self, path: Any) -> bool:
        return Path(path).is_relative_to(self.folder)

    def _note(self, kind: str, path: Any) -> None:
        if self._is_ours(path):
            inode = Path(path).stat().st_ino if kind == "add" else 0
            self.events.append(Event(kind, str(path), inode=inode))


def _told(real: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
    """Return `real` which, once it has succeeded, tells `note` what it was called with."""

    def call_and_note(*arguments: Any, **words: Any) -> Any:
        result = real(*arguments, **words)
        note(*arguments)
        return result

    return call_and_note


@dataclass
class _Folder:
    """The names of a folder: those that are on disk for sure, and the changes that may be. A name leads to an inode."""

    names: dict[str, int] = field(default_factory=dict)
    pending: list[tuple[str, list[tuple[str, int | None]]]] = field(default_factory=list)

    def sync(self) -> None:
        for _, changes in self.pending:
            _apply(self.names, changes)
        self.pending.clear()

    def after_cut(self, keep: Keep) -> dict[str, int]:
        names = dict(self.names)
        for kind, changes in self.pending:
            if keep(kind):
                _apply(names, changes)
        return names


FOLDER = -1
"""The inode of a name that is a folder."""


def rebuild(events: list[Event], mode: str, seed: int, folder: Path, target: Path) -> tuple[bytes, bytes] | None:
    """Lay out in `target` what `folder` may hold after a cut behind `events`; return the ledger's two files, if any.

    `mode`: one of `MODES`, which of the unsynced changes reached the disk. `seed` draws for "some".
    """
    chance = random.Random(seed)
    keep: dict[str, Keep] = {
        "nothing": lambda _: False,
        "all": lambda _: True,
        "only removals": lambda kind: kind == "remove",
        "only additions": lambda kind: kind == "add",
        "some": lambda _: chance.random() < 0.5,
    }
    folders: dict[str, _Folder] = {str(folder): _Folder()}
    contents: dict[int, bytes] = {}
    ledger: tuple[bytes, bytes] | None = None
    for event in events:
        parent, name = os.path.split(event.path)
        if event.kind == "commit":
            ledger = event.content, event.log
        elif event.kind == "sync file":
            contents[event.inode] = event.content
        elif event.kind == "sync folder":
            folders[event.path].sync()
        elif event.kind == "make":
            folders[parent].pending.append(("add", [(name, FOLDER)]))
            folders[event.path] = _Folder()
        elif event.kind == "add":
            folders[parent].pending.append(("add", [(name, event.inode)]))
        elif event.kind == "remove":
            folders[parent].pending.append(("remove", [(name, None)]))
        elif event.kind == "rename":
            assert str(Path(event.other).parent) == parent, "a rename across folders is not modelled"
            change: list[tuple[str, int | None]] = [(name, None), (Path(event.other).name, event.inode)]
            folders[parent].pending.append(("rename", change))
    unsynced = b"" if seed % 2 else bytes(100)
    _lay_out(folders, str(folder), target, contents, unsynced, keep[mode])
    return ledger


def _lay_out(
    folders: dict[str, _Folder], source: str, target: Path, contents: dict[int, bytes], unsynced: bytes, keep: Keep
) -> None:
    target.mkdir(exist_ok=True)
    for name, inode in folders[source].after_cut(keep).items():
        if inode == FOLDER:
            _lay_out(folders, f"{source}/{name}", target / name, contents, unsynced, keep)
        else:
            (target / name).write_bytes(contents.get(inode, unsynced))


def _apply(names: dict[str, int], changes: list[tuple[str, int | None]]) -> None:
    for name, inode in changes:
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
