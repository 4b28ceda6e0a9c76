"""What the files of one result are called, while they are parts and when they are published. No disk.

One result is an image, the companions copied beside it, a mask, a preview and a receipt. Parts lie in the folders of
their final files, so that a rename is enough; job and attempt in their names keep attempts apart.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

FOLDERS = {"image": "", "mask": "masks", "preview": "previews", "receipt": "receipts"}
"""Where each role lies under the output folder, in the order of publishing."""
SUFFIXES = {"preview": ".jpg", "receipt": ".json"}
PART_NAME = re.compile(r"\.spotlessd-\d+-\d+-[a-z][a-z0-9_]*\.part\Z")
TURN = re.compile(r"_t(\d+)\.part\Z")


@dataclass(frozen=True, slots=True)
class Parts:
    """The part files of one attempt. `companions`: by role."""

    image: Path
    mask: Path
    preview: Path
    receipt: Path
    companions: Mapping[str, Path] = field(default_factory=dict)

    def by_role(self) -> dict[str, Path]:
        """Return them by role, in the order of publishing."""
        return {
            "image": self.image,
            **self.companions,
            "mask": self.mask,
            "preview": self.preview,
            "receipt": self.receipt,
        }


@dataclass(frozen=True, slots=True)
class Naming:
    """How the files of one result are called. `endings`: what follows the stem of each companion, by role."""

    mask_suffix: str = ".png"
    endings: Mapping[str, str] = field(default_factory=dict)

    def suffix_of(self, role: str, scan_suffix: str) -> str:
        """Return the suffix of a role that every result has; the image keeps the scan's own."""
        return self.mask_suffix if role == "mask" else SUFFIXES.get(role, scan_suffix)


USUAL_NAMES = Naming()


def part_paths(output: Path, rel: str, job_id: int, attempt: int) -> Parts:
    """Return where an attempt writes: in the folders of the final files, so that a rename is enough."""
    folder = PurePosixPath(rel).parent
    paths = {
        role: output / base / folder / f".spotlessd-{job_id}-{attempt}-{role}.part" for role, base in FOLDERS.items()
    }
    return Parts(paths["image"], paths["mask"], paths["preview"], paths["receipt"])


def turned(path: Path, turn: int) -> Path:
    """Return where the worker of this turn writes a part: a ticket that was given away again has another; 0 = as it is.

    A worker that was thought lost and is not never writes into its successor's file.
    """
    return path.with_name(f"{path.name.removesuffix('.part')}_t{turn}.part") if turn else path


def turned_parts(parts: Parts, turn: int) -> Parts:
    """Return the parts of this turn: image, mask and preview are the worker's, the rest is the station's."""
    return replace(
        parts, image=turned(parts.image, turn), mask=turned(parts.mask, turn), preview=turned(parts.preview, turn)
    )


def turn_of(part: Path) -> int:
    """Return the turn in a part's name; 0 without one."""
    found = TURN.search(part.name)
    return int(found[1]) if found else 0


def companion_part(parts: Parts, role: str) -> Path:
    """Return where the companion of this role is copied to: beside the image's part, and of the same turn."""
    beginning, _, image = parts.image.name.rpartition("-")
    return parts.image.with_name(f"{beginning}-{role}{image.removeprefix('image')}")


def final_names(rel: str, number: int, naming: Naming = USUAL_NAMES) -> dict[str, str]:
    """Return the names by role of the `number`-th result of a scan (1 = the first), relative to the output folder."""
    scan = PurePosixPath(rel)
    stem = scan.stem if number == 1 else f"{scan.stem}~{number}"
    names = {
        role: str(PurePosixPath(base) / scan.parent / f"{stem}{naming.suffix_of(role, scan.suffix)}")
        for role, base in FOLDERS.items()
    }
    return names | {role: str(scan.parent / f"{stem}{ending}") for role, ending in naming.endings.items()}
