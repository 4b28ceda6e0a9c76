"""How many micrometres on the film one pixel shows."""

from spotless_core.options import LONG_SIDE_MM, FilmFormat
from spotless_core.photo import ScanInfo

MIN_DPI, MAX_DPI = 600.0, 12000.0
"""A film scan lies between these; 72 or 300 in the tag is a program's default, not the scanner's resolution."""


def micrometres_per_pixel(info: ScanInfo, film_format: FilmFormat) -> tuple[float, str]:
    """Return (µm per pixel, a note for the receipt, "" where the file's own resolution was used).

    A given `film_format` is trusted first; then a dpi tag that can be a film scan's; then a 35 mm frame is assumed.
    """
    long_side = max(info.width, info.height)
    if film_format is not FilmFormat.AUTO:
        return LONG_SIDE_MM[film_format] * 1000 / long_side, ""
    if info.dpi is not None and MIN_DPI <= info.dpi <= MAX_DPI:
        return 25400 / info.dpi, ""
    came = "no resolution" if info.dpi is None else f"{info.dpi:g} dpi, not a film scan's resolution"
    return LONG_SIDE_MM[FilmFormat.MM35] * 1000 / long_side, f"the file says {came}: a 35 mm frame was assumed"
