"""The files of one ticket in its output folder: the parts of its turns, what goes with its scan, and its result.

Every claim of a ticket writes parts with its turn in their names. What a lost worker left is found here, and removed or
taken over by its successor.
"""

import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import Any

from loguru import logger

from spotlessd import publish
from spotlessd.cluster.seat_checks import MTIME_SECONDS
from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Ticket
from spotlessd.companions.names import CompanionName, Part
from spotlessd.folders.roots import Candidate
from spotlessd.publish import PublishPlan
from spotlessd.publishing.durable import cannot_write, remove_part
from spotlessd.publishing.result_files import FOLDERS, Parts, final_names, turn_of


def has_begun(plan: PublishPlan, output: Path) -> bool:
    """Whether names of a plan were given: its first part is gone, or has its name too.

    Raises:
        PublishError: the folder cannot be looked at.
    """
    first = plan.steps[0]
    part, final = output / first.part, output / first.final
    try:
        return not part.exists() or (final.is_file() and (part.samefile(final) or final.stat().st_size == 0))
    except OSError as error:
        raise cannot_write(final, error) from error


def has_taken_names(plan: PublishPlan, output: Path) -> bool:
    """Whether anything has one of a plan's names."""
    return any(os.path.lexists(output / name) for name in plan.names.values())


def is_receipt_of(plan: PublishPlan, output: Path) -> bool:
    """Whether a plan's own receipt has its name."""
    last = plan.steps[-1]
    try:
        return hashlib.sha256((output / last.final).read_bytes()).hexdigest() == last.sha256
    except OSError:
        return False


def remove_older_turns(taken: Taken, output: Path) -> None:
    """Remove what lost workers left of a ticket that is computed anew: one that wakes up finds nothing to name."""
    if taken.losses:
        remove_turns(taken, output, taken.turn - 1)


def remove_turns(taken: Taken, output: Path, newest: int) -> None:
    """Remove a ticket's parts of all turns up to `newest`; what cannot be removed now the station removes."""
    for part in _parts(taken, output, "*"):
        if turn_of(part) <= newest:
            remove_part(part)


def taken_over(parts: Parts, turn: int) -> Parts:
    """Rename parts to those of `turn`, so that whoever made them finds none if he comes back.

    Raises:
        PublishError: the folder does not allow it.
    """

    def renamed(part: Path) -> Path:
        own = part.with_name(part.name.replace(f"_t{turn_of(part)}.", f"_t{turn}."))
        try:
            if own != part and part.exists():
                part.rename(own)
        except OSError as error:
            raise cannot_write(part, error) from error
        return own

    companions = {role: renamed(part) for role, part in parts.companions.items()}
    return Parts(renamed(parts.image), renamed(parts.mask), renamed(parts.preview), renamed(parts.receipt), companions)


def inherit_feedback(taken: Taken, output: Path) -> None:
    """Give what an edit taught to this turn: the station looks for it under the turn that answered."""
    for part in _parts(taken, output, "feedback"):
        try:
            part.rename(part.with_name(part.name.replace(f"_t{turn_of(part)}.", f"_t{taken.turn}.")))
        except OSError as error:
            logger.warning("{}: cannot be renamed ({}); its feedback is lost", part, error.strerror)


def _parts(taken: Taken, output: Path, role: str) -> list[Path]:
    """Return the parts of all turns of a ticket; a mask that a person gave has no turn, and is left."""
    key, folder = taken.ticket.key, PurePosixPath(taken.ticket.rel).parent
    pattern = f".spotlessd-{key.job}-{key.attempt}-{role}_t*.part"
    found: list[Path] = []
    for base in FOLDERS.values():
        try:
            found += (output / base / folder).glob(pattern)
        except OSError:
            continue  # the share went away; the station sweeps when the job ends
    return found


def companion_of(ticket: Ticket, facts: dict[str, Any], source: Path) -> Candidate | None:
    """Return a file that goes with the scan `source`; None if it is not what the station saw (`facts`) any more."""
    path = source.with_name(facts["name"])
    try:
        status = path.lstat()
    except OSError:
        return None
    if status.st_size != facts["size"] or abs(status.st_mtime_ns - facts["mtime_ns"]) > MTIME_SECONDS * 1e9:
        return None
    name = CompanionName(Part(facts["part"]), facts["stem"], facts["ending"])
    rel = str(PurePosixPath(ticket.rel).with_name(path.name))
    return Candidate(ticket.root, rel, path, status.st_size, status.st_mtime_ns, status.st_ino, name)


def result_in_place(ticket: Ticket, output: Path) -> tuple[dict[str, str], dict[str, Any]] | None:
    """Return names by role and receipt of the result that this very scan has, by this recipe; None without one."""
    number = 1
    wanted = {name: ticket.naming.station.get(name) for name in ("root", "rel", "size", "mtime_ns", "recipe")}
    while (path := output / (name := final_names(ticket.rel, number)["receipt"])).exists():
        receipt = publish.read_receipt(path)
        station, outputs = receipt.get("station"), receipt.get("outputs")
        if isinstance(station, dict) and isinstance(outputs, dict) and wanted.items() <= station.items():
            return {**{role: str(facts["name"]) for role, facts in outputs.items()}, "receipt": name}, receipt
        number += 1
    return None
