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
from spotless_core.image_io.tiff_directory_edit import DirectoryEdit, necessary_edits
from spotless_core.image_io.tiff_frame import Frame, read_frame
from spotless_core.image_io.tiff_pages import choose_primary, list_pages
from spotless_core.image_io.tiff_samples import MIN_IS_WHITE, SEPARATED
from spotless_core.image_io.tiff_tags import (
    DNG_VERSION,
    ICC_PROFILE,
    JPEG_LENGTH,
    JPEG_OFFSET,
    ORIENTATION,
    RESOLUTION_UNIT,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    TILE_BYTE_COUNTS,
    TILE_OFFSETS,
    X_RESOLUTION,
)
from spotless_core.photo import ScanInfo

MIN_DPI, MAX_DPI = 50.0, 20_000.0
"""Outside of this the resolution tag is a default nobody set, or nonsense."""
CM_PER_INCH = 2.54


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """A file that passed the check. `infrared`: the layout of the infrared page, if the plane has a page of its own.

    `directory_edits`: changes to tags that go with any change to samples.
    """

    structure: TiffStructure
    frame: Frame
    infrared: Frame | None
    info: ScanInfo
    directory_edits: tuple[DirectoryEdit, ...]


def check_header(file: PositionalFile, max_megapixels: float, *, allow_transcode: bool = False) -> TiffHeader:
    """Check the TIFF `file` and return its layout; `allow_transcode`: accept lossy strips, to be written losslessly.

    Raises:
        TruncatedScanError: something lies beyond the end of the file.
        UnsupportedScanError: the scan cannot be kept exactly.
        ScanError: the file is damaged.
    """
    structure = read_structure(file)
    pages = list_pages(structure)
    primary = choose_primary(pages)
    frame = read_frame(structure, primary.directory, max_megapixels)
    layout = frame.layout
    if layout.is_lossy and not allow_transcode:
        raise UnsupportedScanError(
            f"compressed with {layout.codec.upper()} inside the TIFF, which cannot be written again without loss. "
            "Export it with LZW or Deflate (ZIP), or set output.allow_transcode = true (spotless: --allow-transcode): "
            "then the repaired copy is written with Deflate."
        )
    edits = necessary_edits(structure, frame)
    _refuse_overlaps(structure, frame, edits)
    found = find_infrared(structure, pages, primary, frame)
    infrared_info, infrared_frame = found if found is not None else (None, None)
    is_dng = any(DNG_VERSION in directory.entries for directory in structure.pages)
    # A DNG keeps what holds for the whole file in its first directory.
    places = (frame.directory, structure.pages[0]) if is_dng else (frame.directory,)
    orientation = next((value for place in places if (value := structure.integer(place, ORIENTATION, 0))), 1)
    info = ScanInfo(
        container="dng" if is_dng else "bigtiff" if structure.is_big else "tiff",
        width=frame.width,
        height=frame.height,
        channels=frame.samples,
        color_channels=frame.color_channels,
        bits=layout.bits,
        compression=frame.codec,
        preservation="transcoded" if layout.is_lossy else "exact",
        dpi=next((dpi for place in places if (dpi := _dots_per_inch(structure, place))), None),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        is_min_white=layout.photometric in {MIN_IS_WHITE, SEPARATED},
        has_icc_profile=ICC_PROFILE in frame.directory.entries,
        infrared=infrared_info,
        is_float=layout.is_float,
        is_cmyk=layout.photometric == SEPARATED,
    )
    return TiffHeader(structure, frame, infrared_frame, info, edits)


def _dots_per_inch(structure: TiffStructure, directory: Directory) -> float | None:
    resolution = structure.rational(directory, X_RESOLUTION)
    unit = structure.integer(directory, RESOLUTION_UNIT, 2)
    if resolution is None or unit not in {2, 3}:
        return None
    dpi = resolution * CM_PER_INCH if unit == 3 else resolution
    return dpi if MIN_DPI <= dpi <= MAX_DPI else None


def _refuse_overlaps(structure: TiffStructure, frame: Frame, edits: tuple[DirectoryEdit, ...]) -> None:
    """Raise unless all that a patch may write (segments, tables, edited directories) lies apart from all else."""
    ours: list[Extent] = list(zip(frame.offsets.tolist(), (frame.offsets + frame.byte_counts).tolist(), strict=True))
    others: list[Extent] = [(0, structure.header_bytes)]
    edited = [edit.directory for edit in edits]
    for directory in (*structure.pages, *structure.metadata):
        (ours if any(directory is one for one in edited) else others).append(directory.extent)
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
