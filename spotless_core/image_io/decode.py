"""From an open scan to its planes: the frame as stored, and the grey that the detector sees, both made band by band."""

from collections.abc import Callable

import numpy as np

from spotless_core.arrays.encoding import Encoding, detector_grey
from spotless_core.arrays.windows import SampleWindows, bands
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.image_io.scratch import ScratchSpace, StoredPlane


def decode_frame(scan: ScanFile, space: ScratchSpace, on_progress: Callable[[float], None]) -> StoredPlane:
    """Read the whole frame into `space`: H×W×color_channels, stored values. `on_progress` gets the fraction done.

    Raises:
        ScanError: the scan is damaged.
        OutputError: there is no room for it.
    """
    info = scan.info
    frame = space.plane((info.height, info.width, info.color_channels), info.dtype)
    for top, bottom in bands(info.height, info.width):
        frame.write_rows(top, scan.read_rows(top, bottom))
        on_progress(bottom / info.height)
    return frame


def make_grey(
    frame: SampleWindows, encoding: Encoding, space: ScratchSpace, on_progress: Callable[[float], None]
) -> StoredPlane:
    """Turn the stored samples into what the detector sees, in `space`: H×W float32 in [0, 1]."""
    height, width = frame.shape[:2]
    grey = space.plane((height, width), np.float32)
    for top, bottom in bands(height, width):
        grey.write_rows(top, detector_grey(frame[top:bottom, 0:width], encoding))
        on_progress(bottom / height)
    return grey
