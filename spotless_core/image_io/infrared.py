"""Where the infrared plane of a scan lies, by the conventions of the scanner programs.

In this order: a page of the scan's size marked NewSubfileType 4 (SilverFast HDRi); a fourth sample beside RGB that is
not declared alpha (VueScan); an unmarked grey page of the scan's size (not sure). Infrared is input only, never
rewritten. A sample declared alpha is taken at its word, though some scanners' alpha is infrared: it is carried
untouched all the same. Sidecars (NAME_IR.tif) are files of their own, which the daemon carries.
"""

from spotless_core.errors import UnsupportedScanError
from spotless_core.image_io.tiff_directories import TiffStructure
from spotless_core.image_io.tiff_frame import Frame, read_frame
from spotless_core.image_io.tiff_pages import Page, unmarked_companions
from spotless_core.image_io.tiff_samples import SEPARATED
from spotless_core.photo import InfraredInfo

UNSPECIFIED_EXTRA = 0
"""ExtraSamples value of a sample that is neither associated nor unassociated alpha."""


def find_infrared(
    structure: TiffStructure, pages: list[Page], primary: Page, frame: Frame
) -> tuple[InfraredInfo, Frame | None] | None:
    """Return where the infrared plane lies and, for an own page, its layout; None where the scan has none.

    A page whose layout we cannot decode is carried along, but not taken for infrared.
    """
    marked = [
        page
        for page in pages
        if page.is_mask
        and not page.is_reduced
        and page.samples == 1
        and (page.width, page.height) == (primary.width, primary.height)
    ]
    for page in marked:
        found = _as_page(structure, page, is_sure=True)
        if found is not None:
            return found
    sample = _as_sample(frame)
    if sample is not None:
        return sample, None
    companions = unmarked_companions(primary, pages)
    if len(companions) == 1:
        return _as_page(structure, companions[0], is_sure=False)
    return None


def _as_page(structure: TiffStructure, page: Page, *, is_sure: bool) -> tuple[InfraredInfo, Frame] | None:
    try:
        frame = read_frame(structure, page.directory, max_megapixels=page.area / 1e6)
    except UnsupportedScanError:
        return None
    return InfraredInfo("page", page.index, is_sure), frame


def _as_sample(frame: Frame) -> InfraredInfo | None:
    colors = frame.color_channels
    if frame.layout.photometric == SEPARATED:
        return None  # a fifth sample beside CMYK is a spot colour
    if frame.samples != colors + 1:
        extras = frame.layout.extra_samples or ()
        if colors == 3 and extras.count(UNSPECIFIED_EXTRA) == 1:
            return InfraredInfo("sample", colors + extras.index(UNSPECIFIED_EXTRA), is_sure=True)
        return None
    if frame.layout.extra_samples is None:
        # An undeclared fourth sample is infrared from a 16-bit scanner; at 8 bits it may as well be alpha.
        return InfraredInfo("sample", colors, is_sure=colors == 3 and frame.layout.bits == 16)
    if frame.layout.extra_samples[0] == UNSPECIFIED_EXTRA:
        return InfraredInfo("sample", colors, is_sure=colors == 3)
    return None
