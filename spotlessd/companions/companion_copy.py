"""Copy the files that belong to a scan beside its result, byte for byte, and tell the receipt what they were.

Comes in: companions that are complete, and the parts and the receipt of a finished result. Goes out: one more part for
each, synced, and the receipt with its facts: `input.companions` (name, size, time, sha256, whether an infrared sidecar
has the scan's size) and `outputs`. Promise: a companion that changes or cannot be read while it is copied is left out
with a note, never copied by half; a sidecar left out comes later by a job of its own (`late_receipt`).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from spotlessd import __version__
from spotlessd.companions.names import CompanionName, Part, ending_beside, folded
from spotlessd.crash_points import crash_point
from spotlessd.errors import PublishError
from spotlessd.folders.roots import Candidate
from spotlessd.job import COMPANION_RECIPE, Identity, JobState
from spotlessd.ledger import FoundScan
from spotlessd.publishing.durable import cannot_write, remove_part, stamp, sync_file
from spotlessd.publishing.result_files import Parts, companion_part

COPY_CHUNK_BYTES = 4 << 20
LATE_SCHEMA = "spotless-companion/1"

Measure = Callable[[Path], tuple[int, int]]
"""Return (width, height) from a file's header, or raise: whatever it raises becomes a note."""


class NotCopiedError(PublishError):
    """The companion itself could not be read whole; nothing is left of the copy."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What `copy_companions` made: the parts with the copies, the receipt that tells of them, their endings by role."""

    parts: Parts
    receipt: dict[str, Any]
    endings: dict[str, str]


@dataclass(frozen=True, slots=True)
class Copier:
    """How companions are copied. `alive` is called between chunks: a long copy must not look like a hang."""

    measure: Measure
    alive: Callable[[], None]
    keeps_timestamp: bool = False

    def copy_companions(
        self, parts: Parts, receipt: Mapping[str, Any], scan_name: str, companions: Sequence[Candidate]
    ) -> Copied:
        """Copy the companions of a scan into parts.

        Raises:
            PublishError: the output folder cannot be written.
        """
        paths: dict[str, Path] = {}
        endings: dict[str, str] = {}
        facts: list[dict[str, Any]] = []
        notes = list(receipt.get("notes", ()))
        scan = receipt["input"]
        for role, ending, companion in name_roles(companions, scan_name):
            path = companion_part(parts, role)
            try:
                sha256 = self._copy(companion, path)
            except NotCopiedError as error:
                notes.append(f"not copied with this result: {error}")
                continue
            except PublishError:
                for copy in paths.values():
                    remove_part(copy)
                raise
            paths[role], endings[role] = path, ending
            fact, note = self.describe(companion, role, path, sha256, (scan["width"], scan["height"]))
            facts.append(fact)
            notes += [note] if note else []
            crash_point("companion.copied")
        outputs = receipt["outputs"] | {
            fact["role"]: {"name": fact["name"], "sha256": fact["sha256"]} for fact in facts
        }
        told = {**receipt, "input": {**scan, "companions": facts}, "outputs": outputs, "notes": notes}
        return Copied(replace(parts, companions=paths), told, endings)

    def copy_late(
        self, parts: Parts, companion: Candidate, image: str, scan_size: tuple[int, int] | None, station: dict[str, Any]
    ) -> Copied:
        """Copy a sidecar that came after its scan's result was published; it gets a receipt of its own.

        `image`: the result's name, relative to the output folder. `scan_size`: width and height, None if unknown.

        Raises:
            NotCopiedError: the sidecar cannot be read whole.
            PublishError: the output folder cannot be written.
        """
        assert companion.companion is not None  # noqa: S101 - our own logic
        role = str(companion.companion.part)
        path = companion_part(parts, role)
        sha256 = self._copy(companion, path)
        fact, note = self.describe(companion, role, path, sha256, scan_size)
        receipt = {
            "schema": LATE_SCHEMA,
            "software": f"spotlessd {__version__}",
            "outcome": "done",
            "input": fact,
            "companion_of": image,
            "outputs": {role: {"name": fact["name"], "sha256": sha256}},
            "seconds": {},
            "notes": ["it came after the result of its scan was published.", *([note] if note else [])],
            "station": station,
        }
        return Copied(replace(parts, companions={role: path}), receipt, {role: PurePosixPath(companion.rel).suffix})

    def describe(
        self, companion: Candidate, role: str, copy: Path, sha256: str, scan_size: tuple[int, int] | None
    ) -> tuple[dict[str, Any], str]:
        """Return a companion's facts for the receipt, and a note if it is a sidecar that does not fit its scan."""
        name = PurePosixPath(companion.rel).name
        fact: dict[str, Any] = {
            "role": role,
            "name": name,
            "size_bytes": companion.size,
            "mtime_ns": companion.mtime_ns,
            "sha256": sha256,
        }
        if companion.companion is None or not companion.companion.is_sidecar:
            return fact, ""
        try:
            width, height = self.measure(copy)
        except Exception as error:  # noqa: BLE001 - one odd header must not hold up the result; the note says it
            fact |= {"width": None, "height": None, "fits_scan": None}
            return fact, f"{name}: copied as it is, but its header cannot be read: {error}"
        fits = None if scan_size is None else (width, height) == scan_size
        fact |= {"width": width, "height": height, "fits_scan": fits}
        if fits is False and scan_size is not None:
            return fact, (
                f"{name}: {width} × {height} px, the scan has {scan_size[0]} × {scan_size[1]}: "
                f"it does not fit its scan and was copied as it is."
            )
        return fact, ""

    def _copy(self, companion: Candidate, part: Path) -> str:
        """Copy one file and return its sha256; the part is synced, or is not there."""
        name = PurePosixPath(companion.rel).name
        digest = hashlib.sha256()
        try:
            part.unlink(missing_ok=True)
            with part.open("xb") as target:
                self._pour(companion, target.write, digest.update)
                target.flush()
                sync_file(target.fileno())
            if self.keeps_timestamp:
                stamp(part, companion.mtime_ns)
        except NotCopiedError:
            remove_part(part)
            raise
        except OSError as error:
            remove_part(part)
            raise cannot_write(part, error) from error
        if _shape(companion.path) != (companion.size, companion.mtime_ns):
            remove_part(part)
            raise NotCopiedError(f"{name}: it changed while it was copied.")
        return digest.hexdigest()

    def _pour(self, companion: Candidate, write: Callable[[bytes], object], take_in: Callable[[bytes], None]) -> None:
        name = PurePosixPath(companion.rel).name
        try:
            source = companion.path.open("rb")
        except OSError as error:
            raise NotCopiedError(f"{name}: cannot be read ({error.strerror}).") from error
        with source:
            while True:
                try:
                    chunk = source.read(COPY_CHUNK_BYTES)
                except OSError as error:
                    raise NotCopiedError(f"{name}: cannot be read ({error.strerror}).") from error
                if not chunk:
                    return
                take_in(chunk)
                write(chunk)
                self.alive()


def name_roles(companions: Sequence[Candidate], scan_name: str) -> list[tuple[str, str, Candidate]]:
    """Return (role in the receipt, what follows the result's stem, companion), with no role or name twice.

    Two companions may differ in case only; not every output folder tells such names apart.
    """
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    named = []
    for companion in companions:
        assert companion.companion is not None  # noqa: S101 - our own logic
        part = str(companion.companion.part)
        seen[part] += 1
        role = part if seen[part] == 1 else f"{part}_{seen[part]}"
        whole = ending_beside(companion.companion, scan_name)
        ending, number = whole, 1
        while folded(ending) in taken or folded(ending) == folded(PurePosixPath(scan_name).suffix):
            number += 1
            path = PurePosixPath(f"x{whole}")
            ending = f"{path.stem[1:]}~{number}{path.suffix}"
        taken.add(folded(ending))
        named.append((role, ending, companion))
    return named


def late_name(image: str, companion: CompanionName) -> str:
    """Return what a late sidecar's name beside the result `image` is made from, relative to the output folder."""
    path = PurePosixPath(image)
    return str(path.with_name(path.stem + companion.ending))


def found_companions(receipt: Mapping[str, Any]) -> list[FoundScan]:
    """Return the sidecars that a receipt says were published with its scan.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: not one of our receipts.
    """
    station = receipt["station"]
    folder = PurePosixPath(str(station["rel"])).parent
    found = []
    for fact in receipt["input"].get("companions", ()):
        role = str(fact["role"])
        if role.startswith(str(Part.PLAIN)):
            continue
        name = str(receipt["outputs"][role]["name"])
        identity = Identity(
            str(station["root"]), str(folder / str(fact["name"])), int(fact["size_bytes"]), int(fact["mtime_ns"])
        )
        found.append(FoundScan(identity, COMPANION_RECIPE, JobState.DONE, str(fact["sha256"]), {role: name}))
    return found


def _shape(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
