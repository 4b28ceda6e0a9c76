"""Checksums for the receipt: of a file's bytes, and of a scan's infrared plane, which travels through untouched."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from spotless_core.arrays.windows import bands
from spotless_core.errors import OutputError
from spotless_core.image_io.scan_file import ScanFile

CHUNK_BYTES = 1 << 22


def hash_file(path: Path, on_chunk: Callable[[], None] = lambda: None) -> str:
    """Return the sha256 of the bytes of `path`; `on_chunk` is called every few megabytes.

    Raises:
        OutputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                on_chunk()
    except OSError as error:
        raise OutputError(f"{path.name}: cannot be read back ({error.strerror}).") from error
    return digest.hexdigest()


def hash_infrared(scan: ScanFile, on_band: Callable[[], None] = lambda: None) -> str:
    """Return the sha256 of the infrared plane, "" where the scan has none; `on_band` is called band by band.

    Its samples count row by row in little-endian order, whatever the file's layout, codec and byte order.

    Raises:
        ScanError: the plane is damaged.
    """
    if scan.info.infrared is None:
        return ""
    digest = hashlib.sha256()
    for top, bottom in bands(scan.info.height, scan.info.width):
        rows = scan.read_infrared_rows(top, bottom)
        if rows is None:
            return ""
        digest.update(rows.astype(rows.dtype.newbyteorder("<"), copy=False).tobytes())
        on_band()
    return digest.hexdigest()
