"""The check of a TIFF before any decoder sees it: structure, the one scan in it, its layout, and overlaps.

Comes in: an open file. Goes out: a `TiffHeader`. The promise: everything a patch may write lies apart from everything
else the file holds, so that patching the scan cannot change a page, a tag or another segment. Refuses with a sentence.
"""

from dataclasses import dataclass

import numpy as np

from spotless_core.errors import ScanError, UnsupportedScanError
from spotless_core.image_io.infrared import find_infrared
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.tiff_directories import Directory, Extent, TiffStructure, read_structure
from spotless_core.image_io.tiff_frame import (
    ORIENTATION,
    RESOLUTION_UNIT,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    TILE_BYTE_COUNTS,
    TILE_OFFSETS,
    X_RESOLUTION,
    Frame,
    read_frame,
)
from spotless_core.image_io.tiff_pages import choose_primary, list_pages
from spotless_core.photo import ScanInfo

MIN_DPI, MAX_DPI = 50.0, 20_000.0
"""Outside of this the resolution tag is a default nobody set, or nonsense."""
CM_PER_INCH = 2.54
ICC_PROFILE = 34675
JPEG_OFFSET, JPEG_LENGTH = 513, 514


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """A file that passed the check. `infrared`: the layout of the infrared page, if the plane has a page of its own."""

    structure: TiffStructure
    frame: Frame
    infrared: Frame | None
    info: ScanInfo


def check_header(file: PositionalFile, max_megapixels: float) -> TiffHeader:
    """Check the TIFF `file` and return its layout.

    Raises:
        TruncatedScanError: something lies beyond the end of the file.
        UnsupportedScanError: the scan cannot be kept exactly.
        ScanError: the file is damaged.
    """
    structure = read_structure(file)
    pages = list_pages(structure)
    primary = choose_primary(structure, pages)
    frame = read_frame(structure, primary.directory, max_megapixels)
    _refuse_overlaps(structure, frame)
    found = find_infrared(structure, pages, primary, frame)
    infrared_info, infrared_frame = found if found is not None else (None, None)
    orientation = structure.integer(frame.directory, ORIENTATION, 1)
    info = ScanInfo(
        container="bigtiff" if structure.is_big else "tiff",
        width=frame.width,
        height=frame.height,
        channels=frame.samples,
        color_channels=frame.color_channels,
        bits=frame.bits,
        compression=frame.codec,
        preservation="exact",
        dpi=_dots_per_inch(structure, frame.directory),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        is_min_white=frame.photometric == 0,
        has_icc_profile=ICC_PROFILE in frame.directory.entries,
        infrared=infrared_info,
    )
    return TiffHeader(structure, frame, infrared_frame, info)


def _dots_per_inch(structure: TiffStructure, directory: Directory) -> float | None:
    resolution = structure.rational(directory, X_RESOLUTION)
    unit = structure.integer(directory, RESOLUTION_UNIT, 2)
    if resolution is None or unit not in {2, 3}:
        return None
    dpi = resolution * CM_PER_INCH if unit == 3 else resolution
    return dpi if MIN_DPI <= dpi <= MAX_DPI else None


def _refuse_overlaps(structure: TiffStructure, frame: Frame) -> None:
    """Raise unless all that a patch may write (the frame's segments and tables) lies apart from all else."""
    ours: list[Extent] = list(zip(frame.offsets.tolist(), (frame.offsets + frame.byte_counts).tolist(), strict=True))
    others: list[Extent] = [(0, structure.header_bytes)]
    for directory in (*structure.pages, *structure.metadata):
        others.append(directory.extent)
        for entry in directory.entries.values():
            if entry.is_inline or not entry.value_bytes:
                continue
            extent = (entry.value_position, entry.value_position + entry.value_bytes)
            is_table = entry is frame.offset_entry or entry is frame.count_entry
            (ours if is_table and frame.codec != "none" else others).append(extent)
        if directory is not frame.directory:
            others.extend(_data_of_page(structure, directory))
    starts_and_ends = np.array(ours + others, np.int64)
    is_ours = np.arange(len(starts_and_ends)) < len(ours)
    order = np.argsort(starts_and_ends[:, 0], kind="stable")
    starts, ends, is_ours = starts_and_ends[order, 0], starts_and_ends[order, 1], is_ours[order]
    end_of_all = np.maximum.accumulate(ends)[:-1]
    end_of_ours = np.maximum.accumulate(np.where(is_ours, ends, 0))[:-1]
    if (is_ours[1:] & (starts[1:] < end_of_all)).any() or (starts[1:] < end_of_ours).any():
        raise UnsupportedScanError(
            "strips or tiles of the scan overlap each other or other data; they could not be changed alone. "
            "Export the scan again."
        )


def _data_of_page(structure: TiffStructure, directory: Directory) -> list[Extent]:
    """Return where the picture data of another page lie; raises if they lie beyond the file's end."""
    extents: list[Extent] = []
    for offset_tag, count_tag in (
        (STRIP_OFFSETS, STRIP_BYTE_COUNTS),
        (TILE_OFFSETS, TILE_BYTE_COUNTS),
        (JPEG_OFFSET, JPEG_LENGTH),
    ):
        offset_entry, count_entry = directory.entries.get(offset_tag), directory.entries.get(count_tag)
        if offset_entry is None:
            continue
        if count_entry is None or count_entry.count != offset_entry.count:
            raise ScanError(f"the table of tag {offset_tag} of another page has no sizes. Export the scan again.")
        offsets, counts = structure.table(offset_entry), structure.table(count_entry)
        for offset, count in zip(offsets.tolist(), counts.tolist(), strict=True):
            if count:
                structure.file.require_inside(offset, count)
                extents.append((offset, offset + count))
    return extents
