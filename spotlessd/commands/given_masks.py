"""A mask that a person gives with `reprocess`: checked against its scan and copied into the state folder.

The copy carries its checksum as its name, so one mask lies there once, and the person's own file may be deleted or
painted on as soon as the command is back. Loads no torch.
"""

import hashlib
import secrets
from pathlib import Path

from spotlessd.publishing.durable import cannot_write, sync_file, sync_folder

FOLDER = "given_masks"
NAME_DIGITS = 24
"""Of the sha256."""


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
    data = mask.read_bytes()
    folder = state_dir / FOLDER
    kept = folder / (hashlib.sha256(data).hexdigest()[:NAME_DIGITS] + mask.suffix.lower())
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
