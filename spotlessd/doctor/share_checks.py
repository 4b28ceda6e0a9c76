"""The doctor's proof that a share is the same folder on every machine of a cluster.

A hidden file with a random text is put into each share here; every live machine says with its next heartbeats whether
it finds it in its own share of that name, and whether it could write beside it. Results are written where stations have
their output folders, so the proof is made there too. The files are deleted at the end, however it ends.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotlessd.cluster.overview_views import ClusterOverview
from spotlessd.cluster.probes import (
    NONCE_PREFIX,
    NONCE_SUFFIX,
    OLD_SECONDS,
    Finding,
    Probe,
    ProbeAnswer,
    ask_probe,
    read_answers,
    withdraw_probe,
    write_nonce,
)
from spotlessd.cluster.shares import NoShareError, Place, Shares
from spotlessd.configuration.settings import Settings
from spotlessd.doctor.checking import Check, Runner
from spotlessd.doctor.station_checks import FOLDER_SECONDS, folder_answers

if TYPE_CHECKING:
    import psycopg

BEATS = 3
"""A machine that has not answered after so many heartbeats does not answer."""
POLL_SECONDS = 0.1
WRONG = {
    Finding.MISSING: (
        "does not find it: its share of this name is another folder ({detail})",
        "Correct [[shares]] there, or mount the same folder at that place.",
    ),
    Finding.OTHER: (
        "finds another text in it: its share of this name is another folder ({detail})",
        "Correct [[shares]] there, or mount the same folder at that place.",
    ),
    Finding.AWAY: ("its share is away: {detail}", "Mount it there again."),
    Finding.UNREADABLE: ("cannot read it: {detail}", "Give its user the right to read there; or mount it again."),
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A file that was put somewhere. `is_output`: results are written there."""

    probe: Probe
    path: Path
    is_output: bool

    @property
    def name(self) -> str:
        place = self.probe.place
        return f"share {place.share}" + (f", {place.rel}" if place.rel else "")


def check_shares(
    settings: Settings,
    connection: "psycopg.Connection[Any]",
    overview: ClusterOverview,
    run: Runner,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Check]:
    """Look at this machine's shares, then ask all live machines.

    Raises:
        psycopg.Error: PostgreSQL went away; the files are deleted all the same.
    """
    asked: list[_Asked] = []
    try:
        for place, folder, is_output in _places(settings):
            check, found = _put(connection, place, folder, run, is_output=is_output)
            asked += [] if found is None else [found]
            yield check
        machines = {("station", station.key): station.name for station in overview.stations if station.is_alive}
        machines |= {("worker", worker.key): worker.name for worker in overview.workers if worker.is_alive}
        if asked and machines:
            answers = _wait(connection, asked, len(machines), settings.cluster.heartbeat_seconds, sleep)
            for each in asked:
                for (role, key), name in machines.items():
                    yield _verdict(each, role, name, answers.get((each.probe.id, role, key)))
    finally:
        for each in asked:
            _remove(each.path)
        for each in asked:
            if not connection.closed:
                withdraw_probe(connection, each.probe)


def _places(settings: Settings) -> Iterator[tuple[Place, Path, bool]]:
    """Yield where to look: each output folder, and each share in which there is none."""
    shares = Shares({share.name: share.path for share in settings.shares})
    seen = set()
    for root in settings.roots:
        try:
            place = shares.place_of(root.output)
        except NoShareError:
            continue
        seen.add(place.share)
        yield place, root.output, True
    for share in settings.shares:
        if share.name not in seen:
            yield Place(share.name, ""), share.path, False


def _put(
    connection: "psycopg.Connection[Any]", place: Place, folder: Path, run: Runner, *, is_output: bool
) -> tuple[Check, _Asked | None]:
    name = f"share {place.share}" + (f", {place.rel}" if place.rel else "")
    if not folder_answers(folder, run):
        return Check(name, False, f"{folder}: no answer within {FOLDER_SECONDS:.0f} s", "Mount it again."), None
    if not folder.is_dir():
        return Check(name, False, f"{folder} is not there", "Mount the share, or correct [[shares]]."), None
    try:
        _sweep(folder)
        file, sha256 = write_nonce(folder)
    except OSError as error:
        detail = f"{folder}: {error.strerror}"
        if is_output:
            return Check(name, False, detail, f"Give this user the right to write to {folder}"), None
        fix = "If results belong there, make it writable. To prove the mapping, run this on a machine that may write."
        return Check(name, None, f"{detail}: it is only read here, so it cannot be proved from here", fix), None
    path = folder / file
    try:
        asked = _Asked(ask_probe(connection, place, file, sha256), path, is_output)
    except BaseException:
        _remove(path)
        raise
    return Check(name, True, f"{folder}: can be read and written here"), asked


def _wait(
    connection: "psycopg.Connection[Any]",
    asked: list[_Asked],
    machines: int,
    heartbeat_seconds: float,
    sleep: Callable[[float], None],
) -> dict[tuple[int, str, str], ProbeAnswer]:
    """Wait until every machine has answered everything, for a few heartbeats at most."""
    left = BEATS * heartbeat_seconds
    while True:
        answers = {
            (answer.probe, answer.role, answer.machine): answer
            for each in asked
            for answer in read_answers(connection, each.probe)
        }
        if len(answers) >= machines * len(asked) or left <= 0:
            return answers
        sleep(POLL_SECONDS)
        left -= POLL_SECONDS


def _verdict(asked: _Asked, role: str, name: str, answer: ProbeAnswer | None) -> Check:
    title = f"{asked.name} on {role} {name}"
    if answer is None:
        fix = f"Look at that machine: its share may hang, or its {role} of an older release does not know the question."
        return Check(title, False, f"no answer within {BEATS} heartbeats", fix)
    if answer.finding is Finding.NO_SHARE:
        detail = f"it has no share {asked.probe.place.share}"
        if role == "worker":
            fix = "Without it the worker gives scans of this share back: add it to [[shares]] there."
            return Check(title, None, detail, fix)
        return Check(title, True, f"{detail}, and needs none unless its own folders lie there")
    if answer.finding in WRONG:
        detail, fix = WRONG[answer.finding]
        return Check(title, False, detail.format(detail=answer.detail), fix)
    if answer.can_write:
        return Check(title, True, "the same folder; can be written")
    detail = f"the same folder, but it cannot write there ({answer.detail})"
    if role == "worker" and asked.is_output:
        return Check(
            title, False, detail, "A worker writes results there: mount it writable, or give its user the right."
        )
    return Check(title, None, detail, "Fine if nothing but scans lies there; where results go, it must be writable.")


def _sweep(folder: Path) -> None:
    """Delete what a doctor that was killed left behind; a file younger than an hour may be another doctor's."""
    for path in folder.glob(f"{NONCE_PREFIX}*{NONCE_SUFFIX}"):
        if time.time() - path.lstat().st_mtime > OLD_SECONDS:
            _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the share went away; the file is hidden, small, and no scan
