"""The check before publishing: what it lets through and what it finds."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Mask
from spotless_core.errors import PreservationError
from spotless_core.image_io.opening import open_scan
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.image_io.tiff import TiffScan
from spotless_core.image_io.verify import verify_restored
from spotless_core.photo import Edit

HEIGHT, WIDTH = 1100, 40


def grainy(*shape: int, seed: int = 1) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).normal(30000, 900, shape).astype("u2")


def write(path: Path, samples: NDArray[np.uint16], **options: object) -> Path:
    settings = {"compression": "lzw", "rowsperstrip": 64, "extrasamples": ["unspecified"], **options}
    tifffile.imwrite(path, samples, photometric="rgb", metadata=None, software=False, **settings)
    return path


def open_tiff(path: Path) -> ScanFile:
    return TiffScan(path, 10)


def specks() -> tuple[list[Edit], Mask]:
    """One speck inside a band, one over the border of two."""
    whole = np.zeros((HEIGHT, WIDTH), np.bool_)
    edits = []
    for top, left in ((100, 7), (508, 20)):
        mask = np.random.default_rng(top).random((9, 9)) < 0.5
        edits.append(Edit(top, left, grainy(9, 9, 3, seed=top), mask))
        whole[top : top + 9, left : left + 9] = mask
    return edits, whole


def apply(samples: NDArray[np.uint16], edits: list[Edit]) -> NDArray[np.uint16]:
    result = samples.copy()
    for edit in edits:
        result[edit.top : edit.top + 9, edit.left : edit.left + 9, :3][edit.mask] = edit.samples[edit.mask]
    return result


def test_a_good_result_passes_and_reports_its_rows(tmp_path: Path) -> None:
    source = write(tmp_path / "scan.tif", grainy(HEIGHT, WIDTH, 4))
    edits, mask = specks()
    rows: list[int] = []

    with open_tiff(source) as scan:
        scan.write_restored(tmp_path / "out.tif", edits)
        verify_restored(scan, tmp_path / "out.tif", mask, edits, rows.append, open_target=open_tiff)

    assert rows == [512, 1024, HEIGHT]


def spoil_unmasked(samples: NDArray[np.uint16]) -> None:
    samples[1050, 3, 1] += 1


def spoil_infrared(samples: NDArray[np.uint16]) -> None:
    samples[700, 3, 3] += 1


def spoil_repair(samples: NDArray[np.uint16]) -> None:
    row, column = (int(places[0]) for places in np.nonzero(specks()[1]))
    samples[row, column, 0] += 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_unmasked, "row 1050, column 3 changed outside the mask"),
        (spoil_infrared, "infrared"),
        (spoil_repair, "as repaired, expected"),
    ],
)
def test_a_wrong_sample_is_found(tmp_path: Path, spoil: object, words: str) -> None:
    samples = grainy(HEIGHT, WIDTH, 4)
    source = write(tmp_path / "scan.tif", samples)
    edits, mask = specks()
    result = apply(samples, edits)
    assert callable(spoil)
    spoil(result)
    target = write(tmp_path / "out.tif", result)

    with open_tiff(source) as scan, pytest.raises(PreservationError, match=words):
        verify_restored(scan, target, mask, edits, open_target=open_tiff)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bigtiff": True}, "container"),
        ({"compression": None}, "compression"),
        ({"resolution": (300, 300)}, "dpi"),
        ({"iccprofile": bytes(100)}, "has_icc_profile"),
        ({"extratags": [(274, 3, 1, 6, True)]}, "orientation"),
        ({"extrasamples": ["unassalpha"]}, "infrared"),
    ],
    ids=str,
)
def test_another_header_fact_is_found(tmp_path: Path, options: dict[str, object], words: str) -> None:
    samples = grainy(HEIGHT, WIDTH, 4)
    source = write(tmp_path / "scan.tif", samples)
    edits, mask = specks()
    target = write(tmp_path / "out.tif", apply(samples, edits), **options)

    with open_tiff(source) as scan, pytest.raises(PreservationError, match=words):
        verify_restored(scan, target, mask, edits, open_target=open_tiff)


def test_a_changed_tag_is_found_though_every_sample_is_right(tmp_path: Path) -> None:
    source = write(tmp_path / "scan.tif", grainy(HEIGHT, WIDTH, 4), extratags=[(65001, 4, 1, 1, True)])
    edits, mask = specks()

    with open_tiff(source) as scan:
        scan.write_restored(tmp_path / "out.tif", edits)
        with tifffile.TiffFile(source) as tiff:
            position = tiff.pages[0].tags[65001].valueoffset
        data = bytearray((tmp_path / "out.tif").read_bytes())
        struct.pack_into("<I", data, position, 2)
        (tmp_path / "out.tif").write_bytes(data)
        with pytest.raises(PreservationError, match="which no repair may touch"):
            verify_restored(scan, tmp_path / "out.tif", mask, edits, open_target=open_tiff)


def test_a_result_that_cannot_be_opened_is_found(tmp_path: Path) -> None:
    source = write(tmp_path / "scan.tif", grainy(HEIGHT, WIDTH, 4))
    edits, mask = specks()

    with open_tiff(source) as scan, pytest.raises(PreservationError, match="cannot be opened"):
        verify_restored(scan, tmp_path / "none.tif", mask, edits, open_target=open_tiff)


@pytest.mark.parametrize("compression", ["none", "lzw", "zlib", "packbits"])
def test_one_changed_byte_anywhere_in_a_tiff_result_is_found(tmp_path: Path, compression: str) -> None:
    """But for the old bytes of a strip that was written anew elsewhere: nothing leads to them any more."""
    source, target = tmp_path / "scan.tif", tmp_path / "out.tif"
    tifffile.imwrite(
        source, grainy(96, 40, 3), photometric="rgb", compression=compression, rowsperstrip=16, iccprofile=bytes(150),
        resolution=(4000, 4000), metadata=None, extratags=[(65001, 7, 50, bytes(50), True)],
    )  # fmt: skip
    edit = Edit(20, 7, grainy(9, 9, 3, seed=5), np.random.default_rng(3).random((9, 9)) < 0.5)
    mask = np.zeros((96, WIDTH), np.bool_)
    mask[20:29, 7:16] = edit.mask

    with open_tiff(source) as scan:
        scan.write_restored(target, [edit])
        verify_restored(scan, target, mask, [edit])
        written = target.read_bytes()
        left_behind = slack(source, target)
        places = {*range(250), *range(len(written) - 40, len(written))}
        places |= set(np.random.default_rng(4).integers(0, len(written), 120).tolist())
        for place in places - left_behind:
            spoilt = bytearray(written)
            spoilt[place] ^= 1 << place % 8
            target.write_bytes(spoilt)
            with pytest.raises(PreservationError):
                verify_restored(scan, target, mask, [edit])

    assert len(places - left_behind) > 300


def slack(source: Path, target: Path) -> set[int]:
    """The bytes of strips that lie elsewhere in the result."""
    with tifffile.TiffFile(source) as before, tifffile.TiffFile(target) as after:
        old, new = before.pages[0], after.pages[0]
        places = zip(old.dataoffsets, old.databytecounts, new.dataoffsets, strict=True)
        return {byte for start, size, now in places if now != start for byte in range(start, start + size)}


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_transcoded_result_has_another_compression_but_the_decoded_samples(tmp_path: Path, is_empty: bool) -> None:
    source, target = tmp_path / "scan.tif", tmp_path / "out.tif"
    samples = (grainy(96, 48, 3) >> 8).astype(np.uint8)
    tifffile.imwrite(source, samples, photometric="rgb", compression="jpeg", rowsperstrip=16, metadata=None)
    edit = Edit(20, 7, np.full((9, 9, 3), 200, np.uint8), np.full((9, 9), not is_empty))
    mask = np.zeros((96, 48), np.bool_)
    mask[20:29, 7:16] = edit.mask

    with open_scan(source, allow_transcode=True) as scan:
        report = scan.write_restored(target, [edit])
        verify_restored(scan, target, mask, [edit])
        assert is_empty or report.preservation == "transcoded"
        wrong = Edit(20, 7, np.full((9, 9, 3), 201, np.uint8), np.ones((9, 9), bool))
        with pytest.raises(PreservationError):
            verify_restored(scan, target, mask, [wrong])
