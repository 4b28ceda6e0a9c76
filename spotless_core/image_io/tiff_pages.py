"""Which page of a TIFF is the scan: the rules that find the one full-size image among previews, thumbnails and masks.

Comes in: the directories. Goes out: a list of `Page` and the primary one. The promise: a file in which two images
could be meant is refused, never guessed. Tags: NewSubfileType (TIFF 6.0 section 8), SubfileType.
"""

from dataclasses import dataclass

from spotless_core.errors import UnsupportedScanError
from spotless_core.image_io.tiff_directories import Directory, TiffStructure
from spotless_core.image_io.tiff_frame import image_size
from spotless_core.image_io.tiff_tags import BITS, HEIGHT, NEW_SUBFILE_TYPE, OLD_SUBFILE_TYPE, SAMPLES, WIDTH

REDUCED, MASK, DEPTH_MAP = 1, 4, 8
"""Bits of NewSubfileType; the last is DNG's."""
OLD_REDUCED = 2
INFRARED_BITS = 16
"""An unmarked infrared page is as deep as scanners store the plane."""
RIVAL_AREA = 0.25
"""An unmarked page of at least this part of the scan's area is no thumbnail but a second picture."""


@dataclass(frozen=True, slots=True)
class Page:
    """One image of the file. `index`: its number, main pages first, then sub-pages."""

    index: int
    directory: Directory
    width: int
    height: int
    samples: int
    bits: int
    is_reduced: bool
    is_mask: bool
    is_depth_map: bool

    @property
    def area(self) -> int:
        """Pixels."""
        return self.width * self.height


def list_pages(structure: TiffStructure) -> list[Page]:
    """Return every directory that holds an image."""
    pages = []
    for index, directory in enumerate(structure.pages):
        if WIDTH not in directory.entries and HEIGHT not in directory.entries:
            continue
        width, height = image_size(structure, directory)
        kind = structure.integer(directory, NEW_SUBFILE_TYPE, 0)
        old_kind = structure.integer(directory, OLD_SUBFILE_TYPE, 0)
        pages.append(
            Page(
                index,
                directory,
                width,
                height,
                structure.integer(directory, SAMPLES, 1),
                structure.integer(directory, BITS, 1),
                is_reduced=bool(kind & REDUCED) or old_kind == OLD_REDUCED,
                is_mask=bool(kind & MASK),
                is_depth_map=bool(kind & DEPTH_MAP),
            )
        )
    return pages


def choose_primary(pages: list[Page]) -> Page:
    """Return the page that is the scan: the largest one that is neither a reduced preview nor a mask.

    Raises:
        UnsupportedScanError: there is none, or there are several.
    """
    candidates = [page for page in pages if not (page.is_reduced or page.is_mask or page.is_depth_map)]
    if not candidates:
        raise UnsupportedScanError("no full-size image in the TIFF, only previews or masks. Export the scan as TIFF.")
    primary = max(candidates, key=lambda page: (page.area, page.samples))
    if any(page.area > primary.area for page in pages):
        raise UnsupportedScanError(
            "a page marked as a preview or mask is larger than the scan; the file contradicts itself. Export it again."
        )
    companions = unmarked_companions(primary, pages)
    excused = companions if len(companions) == 1 else []
    rivals = [
        page
        for page in candidates
        if page is not primary and page not in excused and page.area >= RIVAL_AREA * primary.area
    ]
    if rivals:
        raise UnsupportedScanError(
            f"{len(rivals) + 1} full-size images in one file; one scan per file expected. "
            "Save each in a file of its own."
        )
    return primary


def unmarked_companions(primary: Page, pages: list[Page]) -> list[Page]:
    """Return the unmarked 16-bit grey pages of a colour scan's exact size; a single one may be its infrared plane."""
    return [
        page
        for page in pages
        if page is not primary
        and not page.is_reduced
        and not page.is_mask
        and not page.is_depth_map
        and page.samples == 1 < primary.samples
        and page.bits == INFRARED_BITS
        and (page.width, page.height) == (primary.width, primary.height)
    ]
