"""The promises of JPEG, PNG, BMP and PNM at length: every byte of a result, and many more random masks."""

import os
from pathlib import Path

import numpy as np
import pytest
from drawing_flat import FILES
from drawing_jpeg import KINDS, needs_library
from drawing_png import encoded, grainy_frame

from spotless_core.arrays.kinds import Mask
from spotless_core.errors import PreservationError
from spotless_core.image_io.opening import open_scan
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.image_io.verify import verify_restored
from spotless_core.photo import Edit

CONTENTS: dict[str, bytes] = {
    **{f"jpeg {kind}": content for kind, content in KINDS.items()},
    **{f"png {channels}": encoded(grainy_frame(channels, np.uint16), tail=b"tail") for channels in (1, 2, 3, 4)},
    **FILES,
}


def random_edit(scan: ScanFile, seed: int) -> tuple[Edit, Mask]:
    random = np.random.default_rng(seed)
    shape = (scan.info.height, scan.info.width)
    mask = random.random(shape) < random.choice([0.001, 0.02, 0.5])
    samples = random.integers(0, 1 << scan.info.bits, (*shape, scan.info.color_channels)).astype(scan.info.dtype)
    return Edit(0, 0, samples, mask), mask


@pytest.fixture(autouse=True)
def without_syncing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing written here must survive a power cut, and waiting for the disk takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@needs_library
@pytest.mark.slow
@pytest.mark.parametrize("kind", CONTENTS)
def test_forty_masks_pass_the_check_and_no_changed_byte_does(tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "scan", tmp_path / "out"
    source.write_bytes(CONTENTS[kind])

    with open_scan(source) as scan:
        for seed in range(40):
            edit, mask = random_edit(scan, seed)
            scan.write_restored(target, [edit])
            verify_restored(scan, target, mask, [edit])
        written = target.read_bytes()
        for place in range(0, len(written), max(1, len(written) // 800)):
            spoilt = bytearray(written)
            spoilt[place] ^= 1 << place % 8
            target.write_bytes(spoilt)
            with pytest.raises(PreservationError):
                verify_restored(scan, target, mask, [edit])
