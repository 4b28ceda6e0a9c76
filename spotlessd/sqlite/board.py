"""The notice board in the station's database: what commands ask, what waits, and what the daemon says of itself.

Commands are rows, so they work while the daemon is busy, stopped or restarting, without a socket to secure. `waiting`
is the settle machine's list for `status`. `meta` holds small named values: the pause, the snapshot.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from spotlessd.sqlite.database import Database

KEEP_ANSWERED_SECONDS = 7 * 86400.0
"""Answered commands older than this are dropped."""


@dataclass(frozen=True, slots=True)
class Command:
    """One request of a person. `arguments`: strings, numbers and booleans by name.

    `answer`: the daemon's sentence; `exit_code`: 0 if it did what was asked.
    """

    id: int
    name: str
    arguments: dict[str, Any]
    answer: str = ""
    exit_code: int = 0
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file that is not a job yet, why, and since when (seconds since the epoch)."""

    root: str
    rel: str
    reason: str
    since: float


class Board:
    """Commands, waiting files and named values of one station."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, name: str, arguments: dict[str, Any], now: float) -> int:
        """Write a command down and return its number."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO command (name, arguments, created) VALUES (?, ?, ?)", (name, json.dumps(arguments), now)
            )
            connection.execute("DELETE FROM command WHERE done < ?", (now - KEEP_ANSWERED_SECONDS,))
            return int(cursor.lastrowid or 0)

    def open_commands(self) -> list[Command]:
        """Return the commands nobody has answered yet, oldest first."""
        rows = self._database.read("SELECT * FROM command WHERE done IS NULL ORDER BY id")
        return [Command(row["id"], row["name"], json.loads(row["arguments"])) for row in rows]

    def command(self, number: int) -> Command | None:
        """Return one command with its answer, or None."""
        for row in self._database.read("SELECT * FROM command WHERE id = ?", number):
            arguments = json.loads(row["arguments"])
            if row["done"] is None:
                return Command(row["id"], row["name"], arguments)
            answer = json.loads(row["answer"])
            return Command(row["id"], row["name"], arguments, answer["text"], answer["exit_code"], is_done=True)
        return None

    def answer(self, number: int, text: str, now: float, exit_code: int = 0) -> None:
        """Mark a command as done, with the sentence the person will see and the exit code of the command."""
        answer = json.dumps({"text": text, "exit_code": exit_code})
        with self._database.transaction() as connection:
            connection.execute("UPDATE command SET done = ?, answer = ? WHERE id = ?", (now, answer, number))

    def show_waiting(self, files: Iterable[WaitingFile]) -> None:
        """Replace the list of waiting files."""
        rows = [(file.root, file.rel, file.reason, file.since) for file in files]
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM waiting")
            connection.executemany("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?)", rows)

    def waiting(self) -> list[WaitingFile]:
        """Return the waiting files, the longest-waiting first."""
        rows = self._database.read("SELECT * FROM waiting ORDER BY since, root, rel")
        return [WaitingFile(row["root"], row["rel"], row["reason"], row["since"]) for row in rows]

    def note(self, key: str, value: str) -> None:
        """Keep a named value."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def forget(self, key: str) -> None:
        """Drop a named value."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM meta WHERE key = ?", (key,))

    def noted(self, key: str) -> str | None:
        """Return a named value, or None."""
        for row in self._database.read("SELECT value FROM meta WHERE key = ?", key):
            return str(row["value"])
        return None
