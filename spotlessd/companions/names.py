"""Which files belong to a scan instead of being one: told by their names alone.

Infrared sidecars (`NAME_IR.tif`, `NAME-ir.tiff`, any case; NegPy and ScanStudio write them) and their map of valid
pixels (`NAME_IR_VALID.tif`) belong to the scan NAME beside them. Plain companions (`NAME.xmp`, `NAME.tif.xmp`) belong
to every scan of that name. A sidecar is never a scan of its own; to restore scans that are merely called so, take the
ending out of `watch.infrared_endings`.
"""

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

SIDECAR_SUFFIXES = (".tif", ".tiff")
VALIDITY = "_valid"


class Part(StrEnum):
    """What a companion is to its scan; also the beginning of its role in the receipt."""

    INFRARED = "infrared_sidecar"
    VALIDITY = "infrared_validity"
    PLAIN = "companion"


@dataclass(frozen=True, slots=True)
class CompanionName:
    """A companion's name taken apart: `stem` names the scan, `ending` is what follows the stem."""

    part: Part
    stem: str
    ending: str

    @property
    def is_sidecar(self) -> bool:
        """Whether it must come through with its scan; plain companions only come along."""
        return self.part is not Part.PLAIN


@dataclass(frozen=True, slots=True)
class CompanionRules:
    """Endings of the stem of infrared sidecars, and suffixes of plain companions, both in lower case."""

    infrared_endings: tuple[str, ...] = ("_ir", "-ir")
    suffixes: tuple[str, ...] = (".xmp",)

    def parse(self, name: str) -> CompanionName | None:
        """Take the name of a companion apart; None if the file is none."""
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if suffix in self.suffixes:
            return CompanionName(Part.PLAIN, path.stem, path.suffix)
        if suffix not in SIDECAR_SUFFIXES:
            return None
        for ending in self.infrared_endings:
            for part, whole in ((Part.INFRARED, ending), (Part.VALIDITY, ending + VALIDITY)):
                stem = path.stem[: -len(whole)]
                if stem and path.stem.lower().endswith(whole):
                    return CompanionName(part, stem, name[len(stem) :])
        return None


def same_name(one: str, other: str) -> bool:
    """Whether two names are one to a person: case and the two ways to write an accent do not count."""
    return folded(one) == folded(other)


def folded(name: str) -> str:
    """Return the form in which names are compared."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def ending_beside(companion: CompanionName, scan_name: str) -> str:
    """Return what stands after the stem of `scan_name` in the companion's name: `_IR.tif`, `.xmp` or `.tif.xmp`."""
    if companion.part is Part.PLAIN and same_name(companion.stem, scan_name):
        return PurePosixPath(companion.stem).suffix + companion.ending
    return companion.ending
