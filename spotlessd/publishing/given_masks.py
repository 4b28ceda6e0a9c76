"""A mask that a person gives, by command or on the review page: checked against its scan and kept in the state folder.

The copy carries its checksum as its name, so one mask lies there once, and the person's own file may be deleted or
painted on as soon as the command is back. Loads no torch.
"""

import hashlib
import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from spotlessd.publishing.durable import cannot_write, sync_file, sync_folder

FOLDER = "given_masks"
NAME_DIGITS = 24
"""Of the sha256."""
UNASKED_SECONDS = 24 * 3600.0
"""A mask is kept so long at least: the request that names it may not be written yet."""


def keep_mask(mask: Path, scan: Path, state_dir: Path) -> Path:
    """Copy `mask` into the state folder, durably, and return the copy's path.

    Raises:
        MissingInputError: the mask or the scan is not there.
        ScanError: the mask is not a readable PNG or TIFF, or not of the scan's size.
        PublishError: the state folder cannot be written.
    """
    from spotless_core.image_io.mask_file import read_mask
    from spotless_core.image_io.opening import open_scan

    with open_scan(scan, allow_transcode=True) as opened:
        shape = (opened.info.height, opened.info.width)
    read_mask(mask, shape)
    return keep_content(mask.read_bytes(), mask.suffix.lower(), state_dir)


def keep_content(data: bytes, suffix: str, state_dir: Path) -> Path:
    """Write a mask file of content `data` into the state folder, durably, and return its path.

    Raises:
        PublishError: the state folder cannot be written.
    """
    folder = state_dir / FOLDER
    kept = folder / (hashlib.sha256(data).hexdigest()[:NAME_DIGITS] + suffix)
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if kept.is_file() and kept.read_bytes() == data:
            return kept
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            sync_file(file.fileno())
        part.replace(kept)
        sync_folder(folder)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise cannot_write(kept, error) from error
    return kept


def prune_masks(state_dir: Path, in_use: Collection[Path], now: float) -> int:
    """Remove the kept masks that no job needs any more, and return how many. `now`: seconds since the epoch.

    What a job made of a mask lies with its result; this copy is only what the job read.
    """
    number = 0
    with suppress(OSError), os.scandir(state_dir / FOLDER) as entries:
        names = {path.name for path in in_use}
        for entry in entries:
            if entry.name not in names and entry.is_file() and entry.stat().st_mtime < now - UNASKED_SECONDS:
                Path(entry.path).unlink(missing_ok=True)
                number += 1
    return number
