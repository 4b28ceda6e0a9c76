"""The station's SQLite file: opening, schema, migrations, and transactions that are really on disk when they return.

WAL so that the commands read while the daemon writes; synchronous=FULL so that a committed attempt survives a power
cut. A damaged file is moved aside, never deleted; the ledger is then rebuilt from the folder and the receipts. Every
SQLite error leaves as a `LedgerError`, and a failed commit is rolled back, so the connection stays usable.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from spotlessd.crash_points import crash_point
from spotlessd.errors import LedgerError
from spotlessd.publishing.durable import make_folder

BUSY_SECONDS = 10.0
"""How long a write waits for another process's write."""
CHECKPOINT_PAGES = 250
"""The write-ahead log is carried over into the file at about a megabyte: a log that fills the disk by itself cannot
be, for that takes room too.
"""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE job (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        root TEXT NOT NULL, rel TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL, recipe TEXT NOT NULL,
        state TEXT NOT NULL, priority INTEGER NOT NULL DEFAULT 0,
        attempt INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
        interrupts INTEGER NOT NULL DEFAULT 0, setbacks INTEGER NOT NULL DEFAULT 0,
        not_before REAL NOT NULL DEFAULT 0, owner TEXT NOT NULL DEFAULT '', sha256 TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '', plan TEXT NOT NULL DEFAULT '', outputs TEXT NOT NULL DEFAULT '{}',
        seconds TEXT NOT NULL DEFAULT '{}', override_mask TEXT, override_sensitivity TEXT,
        created REAL NOT NULL, started REAL NOT NULL DEFAULT 0, finished REAL NOT NULL DEFAULT 0,
        UNIQUE (root, rel, size, mtime_ns, recipe)
    );
    CREATE INDEX job_by_state ON job (state, priority DESC, mtime_ns, id);
    CREATE TABLE history (
        id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL REFERENCES job (id),
        at REAL NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL
    );
    CREATE INDEX history_by_job ON history (job, id);
    CREATE TABLE command (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, arguments TEXT NOT NULL, created REAL NOT NULL,
        done REAL, answer TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX command_open ON command (id) WHERE done IS NULL;
    CREATE TABLE waiting (
        root TEXT NOT NULL, rel TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL, PRIMARY KEY (root, rel)
    );
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
    """
    ALTER TABLE job ADD COLUMN shortages INTEGER NOT NULL DEFAULT 0;
    DROP INDEX job_by_state;
    CREATE INDEX job_by_state ON job (state, root, not_before);
    CREATE INDEX job_in_order ON job (priority DESC, mtime_ns, id, not_before, root) WHERE state = 'queued';
    CREATE INDEX job_planned ON job (id) WHERE plan != '';
    """,
    """
    CREATE INDEX job_figures ON job (state, recipe, size);
    CREATE INDEX job_by_age ON job (state, created);
    CREATE INDEX job_ended ON job (finished) WHERE attempt > 0 AND state IN ('done', 'held');
    """,
    # One row for each scan, for the review page: its newest job, kept by the two triggers. No sidecars.
    """
    ALTER TABLE job ADD COLUMN defects INTEGER;
    ALTER TABLE job ADD COLUMN coverage REAL;
    CREATE TABLE frame (
        root TEXT NOT NULL, rel TEXT NOT NULL, job INTEGER NOT NULL REFERENCES job (id), state TEXT NOT NULL,
        versions INTEGER NOT NULL, arrived REAL NOT NULL, day TEXT NOT NULL, PRIMARY KEY (root, rel)
    ) WITHOUT ROWID;
    INSERT INTO frame
        SELECT job.root, job.rel, job.id, job.state, newest.versions, newest.arrived,
            date(newest.arrived, 'unixepoch', 'localtime')
        FROM (SELECT MAX(id) AS id, COUNT(*) AS versions, MIN(created) AS arrived FROM job
            WHERE recipe != 'companion' GROUP BY root, rel) AS newest JOIN job ON job.id = newest.id;
    CREATE INDEX frame_in_order ON frame (arrived, root, rel);
    CREATE INDEX frame_by_state ON frame (state, arrived, root);
    CREATE INDEX frame_by_day ON frame (day, root, state);
    CREATE TRIGGER frame_arrives AFTER INSERT ON job WHEN NEW.recipe != 'companion' BEGIN
        INSERT INTO frame
            SELECT NEW.root, NEW.rel, NEW.id, NEW.state, 0, NEW.created, date(NEW.created, 'unixepoch', 'localtime')
            WHERE NOT EXISTS (SELECT 1 FROM frame WHERE root = NEW.root AND rel = NEW.rel);
        UPDATE frame SET job = NEW.id, state = NEW.state, versions = versions + 1
            WHERE root = NEW.root AND rel = NEW.rel;
    END;
    CREATE TRIGGER frame_moves AFTER UPDATE OF state ON job WHEN NEW.state != OLD.state BEGIN
        UPDATE frame SET state = NEW.state, job = NEW.id WHERE root = NEW.root AND rel = NEW.rel
            AND (job = NEW.id OR (NEW.state = 'queued' AND OLD.state IN ('gone', 'superseded')));
    END;
    """,
    # What was edited, and who decided: JSON, see sqlite/rows.py.
    """
    ALTER TABLE job ADD COLUMN override_edit TEXT NOT NULL DEFAULT '';
    """,
)
"""Each entry lifts `user_version` by one; entries are never edited after a release, only added."""


class Database:
    """One connection to the station's ledger file. `is_new`: the file was made (or made anew) by this opening."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, is_new: bool) -> None:
        self._connection = connection
        self._is_batch = False
        self._file: tuple[int, int] | None = None
        self.path = path
        self.is_new = is_new

    @classmethod
    def open(cls, path: Path) -> "Database":
        """Open the ledger at `path`, making it or bringing its schema up to date.

        Raises:
            LedgerError: it is damaged, was written by a newer version, or cannot be written.
        """
        is_new = not path.exists()
        try:
            make_folder(path.parent)
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"{path}: the ledger cannot be opened ({error}).") from error
        database = cls(connection, path, is_new=is_new)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute("PRAGMA foreign_keys = ON")
            database._migrate()
            status = path.stat()
            database._file = (status.st_dev, status.st_ino)
        except (sqlite3.Error, OSError) as error:
            connection.close()
            raise LedgerError(f"{path}: the ledger cannot be opened ({error}).") from error
        except LedgerError:
            connection.close()
            raise
        return database

    @classmethod
    def open_or_start_over(cls, path: Path, now: float) -> tuple["Database", Path | None]:
        """Open the ledger; a damaged one is moved aside and a new one begun. Returns it and where the old one went."""
        aside: Path | None = None
        if path.exists() and not _is_sound(path):
            aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}")
            path.rename(aside)
            for suffix in ("-wal", "-shm"):
                side = path.with_name(path.name + suffix)
                if side.exists():
                    side.rename(aside.with_name(aside.name + suffix))
            crash_point("ledger.moved_aside")
        return cls.open(path), aside

    def _migrate(self) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise LedgerError(
                f"{self.path}: the ledger has schema {version}, this spotlessd knows {len(MIGRATIONS)}. "
                "Use the newer spotlessd that wrote it."
            )
        if version == len(MIGRATIONS):
            return
        with self.transaction():
            # Another process may have migrated between the look and the lock.
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
                for statement in _statements(script):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {number}")
            crash_point("ledger.before_schema")

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make the transactions inside one: on disk together when the block ends, or none of them.

        One wait for the disk instead of hundreds. What raises inside one of them undoes that one alone.
        """
        with self.transaction():
            self._is_batch = True
            try:
                yield
            finally:
                self._is_batch = False
            crash_point("batch.before_commit")
        crash_point("batch.after_commit")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside BEGIN IMMEDIATE; on disk when the block ends, undone if anything raises.

        Inside a `batch` it is only one part of it.
        """
        if self._is_batch:
            with self._part_of_batch():
                yield self._connection
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}.") from error

    @contextmanager
    def _part_of_batch(self) -> Iterator[None]:
        try:
            self._connection.execute("SAVEPOINT part")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:  # a full disk has undone all of it by itself
                    self._connection.execute("ROLLBACK TO part")
                    self._connection.execute("RELEASE part")
                raise
            self._connection.execute("RELEASE part")
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}.") from error

    def read(self, statement: str, *values: Any) -> list[sqlite3.Row]:  # noqa: ANN401 - SQLite's own value types
        """Run a SELECT and return its rows."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}.") from error

    def integrity_problems(self) -> list[str]:
        """Return what SQLite's own full check finds; empty when the file is sound."""
        lines = [str(row[0]) for row in self.read("PRAGMA integrity_check")]
        return [line for line in lines if line != "ok"]

    def loss(self) -> str:
        """Return why what is written is lost, "" while the file lies where it was opened."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return f"{self.path} is not there any more: it was moved or deleted"
        except OSError:
            return ""  # it cannot be told now
        is_ours = (found.st_dev, found.st_ino) == self._file
        return "" if is_ours else f"{self.path} is another file now: it was replaced"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; the semicolons inside a trigger do not end it."""
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _is_sound(path: Path) -> bool:
    """Tell whether SQLite can read the file at all. A locked or unreadable file raises; it is not damage."""
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path}: the ledger cannot be read ({error}).") from error
    except sqlite3.DatabaseError:
        return False
