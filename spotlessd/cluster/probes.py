"""Proves that a share is the same folder on two machines: one writes a file, the others say what they find there.

`spotlessd doctor --cluster` writes a file with a random text into a share and a row that says where (`ask_probe`). Each
machine's link looks for new rows with every beat, looks into its own share of that name, and writes what it found
(`ProbeAnswers`). Only the text's checksum travels through PostgreSQL: a wrong folder cannot give a right answer.
A folder is looked into by a thread of its own: one that hangs costs an answer, never a heartbeat.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

from spotlessd.cluster.shares import NoShareError, Place, Shares

if TYPE_CHECKING:
    import psycopg

NONCE_PREFIX = ".spotlessd-nonce-"
NONCE_SUFFIX = ".part"
"""No scan and no companion is called so, and a file left behind by a killed doctor is seen as unfinished."""
NONCE_BYTES = 32
MOST_BYTES = 4096
"""A foreign file of this name is not read further."""
ANSWER_WAIT_SECONDS = 0.5
"""A beat waits this long for the folders; slower ones are answered with the next."""
OLD_SECONDS = 3600.0
"""Older probes are nobody's any more."""

PROBE_TABLES: tuple[LiteralString, ...] = (
    """
    CREATE TABLE spotlessd_probes (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        share text NOT NULL,
        folder text NOT NULL,                   -- below the share
        file text NOT NULL,
        sha256 text NOT NULL,                   -- of the file's text
        asked_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    """
    CREATE TABLE spotlessd_probe_answers (
        probe bigint NOT NULL REFERENCES spotlessd_probes ON DELETE CASCADE,
        role text NOT NULL,
        machine text NOT NULL,
        finding text NOT NULL,
        can_write boolean NOT NULL,
        detail text NOT NULL,
        PRIMARY KEY (probe, role, machine)
    )
    """,
)
"""Made by schema.py with the others."""
NEW_PROBES = f"""
SELECT id, share, folder, file, sha256 FROM spotlessd_probes
 WHERE asked_at > clock_timestamp() - make_interval(secs => {OLD_SECONDS})
   AND NOT EXISTS (SELECT FROM spotlessd_probe_answers
                    WHERE probe = spotlessd_probes.id AND role = %s AND machine = %s)"""  # noqa: S608 - a constant


class Finding(StrEnum):
    """What a machine found in its share."""

    FOUND = "found"
    MISSING = "missing"
    OTHER = "other"
    NO_SHARE = "no share"
    AWAY = "away"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Probe:
    """A file to be found: `place` is its folder, `sha256` that of its text."""

    id: int
    place: Place
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What one machine found. `can_write`: a file could be made beside it. `detail`: the system's words, or ""."""

    probe: int
    role: str
    machine: str
    finding: Finding
    can_write: bool
    detail: str


def write_nonce(folder: Path) -> tuple[str, str]:
    """Write a file with a random text into `folder`; returns its name and the text's SHA-256.

    Raises:
        OSError: it cannot be written.
    """
    name, text = f"{NONCE_PREFIX}{secrets.token_hex(8)}{NONCE_SUFFIX}", secrets.token_bytes(NONCE_BYTES)
    path = folder / name
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, text)
        os.fsync(descriptor)  # what lies in this machine's memory only is not found by the others
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return name, hashlib.sha256(text).hexdigest()


def look(probe: Probe, shares: Shares) -> tuple[Finding, bool, str]:
    """Look for a probe's file on this machine; never raises for what a folder does."""
    try:
        folder = shares.path_of(probe.place)
    except NoShareError as error:
        return Finding.NO_SHARE, False, str(error)
    try:
        share = shares.path_of(Place(probe.place.share, ""))
        if not share.is_dir():
            return Finding.AWAY, False, f"{share} is not there"
        with (folder / probe.file).open("rb") as file:
            text = file.read(MOST_BYTES)
    except FileNotFoundError:
        return Finding.MISSING, False, str(folder)
    except OSError as error:
        return Finding.UNREADABLE, False, f"{folder}: {error.strerror}"
    if hashlib.sha256(text).hexdigest() != probe.sha256:
        return Finding.OTHER, False, str(folder / probe.file)
    try:
        name, _ = write_nonce(folder)
        (folder / name).unlink()
    except OSError as error:
        return Finding.FOUND, False, f"{folder}: {error.strerror}"
    return Finding.FOUND, True, ""


def ask_probe(connection: psycopg.Connection[Any], place: Place, file: str, sha256: str) -> Probe:
    """Tell all machines of a file in `place`; forgets old ones. Returns the probe, to be withdrawn at the end."""
    connection.execute(
        "DELETE FROM spotlessd_probes WHERE asked_at < clock_timestamp() - make_interval(secs => %s)", (OLD_SECONDS,)
    )
    row = connection.execute(
        "INSERT INTO spotlessd_probes (share, folder, file, sha256) VALUES (%s, %s, %s, %s) RETURNING id",
        (place.share, place.rel, file, sha256),
    ).fetchone()
    assert row is not None  # noqa: S101 - INSERT … RETURNING gives a row
    return Probe(int(row[0]), place, file, sha256)


def read_answers(connection: psycopg.Connection[Any], probe: Probe) -> list[ProbeAnswer]:
    """Return what machines have said about a probe so far."""
    rows = connection.execute(
        "SELECT probe, role, machine, finding, can_write, detail FROM spotlessd_probe_answers WHERE probe = %s"
        " ORDER BY role, machine",
        (probe.id,),
    ).fetchall()
    return [ProbeAnswer(row[0], row[1], row[2], _finding(row[3]), row[4], row[5]) for row in rows]


def withdraw_probe(connection: psycopg.Connection[Any], probe: Probe) -> None:
    """Forget a probe and its answers."""
    connection.execute("DELETE FROM spotlessd_probes WHERE id = %s", (probe.id,))


class ProbeAnswers:
    """Answers probes for one machine. `role` and `machine`: as in its row among the machines."""

    def __init__(
        self,
        role: str,
        machine: str,
        shares: Mapping[str, Path],
        look_for: Callable[[Probe, Shares], tuple[Finding, bool, str]] = look,
    ) -> None:
        self._role, self._machine, self._shares, self._look = role, machine, Shares(shares), look_for
        self._busy: set[int] = set()
        self._found: queue.SimpleQueue[ProbeAnswer] = queue.SimpleQueue()

    async def answer(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """Look for new probes and write what was found; returns how many were answered. To be called with each beat.

        Waits at most half a second for folders that are asked for the first time; a slower one is written later.

        Raises:
            psycopg.Error: PostgreSQL went away.
        """
        rows = await (await connection.execute(NEW_PROBES, (self._role, self._machine))).fetchall()
        fresh = set()
        for number, share, folder, file, sha256 in rows:
            if number not in self._busy:
                fresh.add(number)
                self._busy.add(number)
                probe = Probe(number, Place(share, folder), file, sha256)
                name = f"probe of share {share}"
                threading.Thread(target=self._answer_one, args=(probe,), name=name, daemon=True).start()
        return await self._write(connection, fresh)

    async def _write(self, connection: psycopg.AsyncConnection[Any], fresh: set[int]) -> int:
        number, left = 0, ANSWER_WAIT_SECONDS
        while True:
            while not self._found.empty():
                found = self._found.get()
                self._busy.discard(found.probe)
                # The probe may have been withdrawn meanwhile.
                await connection.execute(
                    "INSERT INTO spotlessd_probe_answers (probe, role, machine, finding, can_write, detail)"
                    " SELECT id, %s, %s, %s, %s, %s FROM spotlessd_probes WHERE id = %s ON CONFLICT DO NOTHING",
                    (self._role, self._machine, found.finding, found.can_write, found.detail, found.probe),
                )
                number += 1
            if not self._busy & fresh or left <= 0:
                return number
            await asyncio.sleep(0.02)
            left -= 0.02

    def _answer_one(self, probe: Probe) -> None:
        finding, can_write, detail = self._look(probe, self._shares)
        self._found.put(ProbeAnswer(probe.id, self._role, self._machine, finding, can_write, detail))


def _finding(text: str) -> Finding:
    """Return the finding of a word; one of a newer version counts as unreadable."""
    return Finding(text) if text in {str(each) for each in Finding} else Finding.UNREADABLE
