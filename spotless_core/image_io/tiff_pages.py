"""Which page of a TIFF is the scan: the rules that find the one full-size image among previews, thumbnails and masks.

Comes in: the directories. Goes out: a list of `Page` and the primary one. The promise: a file in which two images
could be meant is refused, never guessed. Tags: NewSubfileType (TIFF 6.0 section 8), SubfileType.
"""

from dataclasses import dataclass

from spotless_core.errors import UnsupportedScanError
from spotless_core.image_io.tiff_directories import Directory, TiffStructure
from spotless_core.image_io.tiff_frame import HEIGHT, PHOTOMETRIC, SAMPLES, WIDTH, image_size

NEW_SUBFILE_TYPE, OLD_SUBFILE_TYPE, DNG_VERSION = 254, 255, 50706
REDUCED, MASK = 1, 4
OLD_REDUCED = 2
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
    photometric: int
    is_reduced: bool
    is_mask: bool

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
                structure.integer(directory, PHOTOMETRIC, -1),
                is_reduced=bool(kind & REDUCED) or old_kind == OLD_REDUCED,
                is_mask=bool(kind & MASK),
            )
        )
    return pages


def choose_primary(structure: TiffStructure, pages: list[Page]) -> Page:
    """Return the page that is the scan: the largest one that is neither a reduced preview nor a mask.

    Raises:
        UnsupportedScanError: there is none, there are several, or the file is a DNG.
    """
    if any(DNG_VERSION in directory.entries for directory in structure.pages):
        raise UnsupportedScanError("a DNG raw file; a TIFF expected. Export the scan as TIFF.")
    candidates = [page for page in pages if not page.is_reduced and not page.is_mask]
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
    """Return the unmarked grey pages of exactly the size of a colour scan; a single one may be its infrared plane."""
    return [
        page
        for page in pages
        if page is not primary
        and not page.is_reduced
        and not page.is_mask
        and page.samples == 1 < primary.samples
        and (page.width, page.height) == (primary.width, primary.height)
    ]
