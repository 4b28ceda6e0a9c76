"""BMP and PNM scans: patched in place; nothing but samples under the mask changes, and any other change is found."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawing_flat import FILES, FRAMES, grainy, pnm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from spotless_core.arrays.kinds import Mask
from spotless_core.errors import ArrayContractError, OutputError, PreservationError
from spotless_core.image_io import flat
from spotless_core.image_io.flat import FlatScan
from spotless_core.image_io.header_flat import check_bmp, check_pnm
from spotless_core.image_io.verify import verify_restored
from spotless_core.photo import Edit


def opened(tmp_path: Path, content: bytes) -> FlatScan:
    path = tmp_path / "scan"
    path.write_bytes(content)
    return open_flat(path)


def open_flat(path: Path) -> FlatScan:
    return FlatScan(path, 10, check_bmp if path.read_bytes()[:2] == b"BM" else check_pnm)


def verify(scan: FlatScan, target: Path, mask: Mask, edits: list[Edit]) -> None:
    verify_restored(scan, target, mask, edits, open_target=open_flat)


def random_edit(scan: FlatScan, seed: int, share: float = 0.1) -> tuple[Edit, Mask]:
    random = np.random.default_rng(seed)
    shape = (scan.info.height, scan.info.width)
    mask = random.random(shape) < share
    samples = random.integers(0, 1 << scan.info.bits, (*shape, scan.info.color_channels)).astype(scan.info.dtype)
    return Edit(0, 0, samples, mask), mask


@pytest.mark.parametrize("kind", FILES)
def test_rows_are_read_from_the_top_as_rgb_in_native_order(tmp_path: Path, kind: str) -> None:
    frame = FRAMES[kind]

    with opened(tmp_path, FILES[kind]) as scan:
        rows = scan.read_rows(0, scan.info.height)

        assert rows.dtype == frame.dtype
        assert rows.dtype.isnative
        assert np.array_equal(rows, frame[..., : scan.info.color_channels])
        assert np.array_equal(scan.read_rows(0, 1), rows[:1])
        assert np.array_equal(scan.read_rows(len(rows) - 1, len(rows)), rows[-1:])
        assert (scan.info.channels, scan.info.bits) == (frame.shape[2], 8 * frame.itemsize)
        assert scan.info.container == kind[:3].replace("pam", "pnm")
        assert scan.read_infrared_rows(0, 1) is None


@pytest.mark.parametrize("kind", FILES)
def test_an_empty_mask_gives_a_byte_identical_file(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"

    with opened(tmp_path, FILES[kind]) as scan:
        edit, mask = random_edit(scan, 1, share=0.0)
        report = scan.write_restored(target, [edit])
        verify(scan, target, mask, [edit])

    assert target.read_bytes() == FILES[kind]
    assert report.segments_touched == 0


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.003, 0.1, 0.9]), band_bytes=st.sampled_from([1, 200]))
def test_whatever_the_mask_only_its_samples_change(
    tmp_path: Path, kind: str, seed: int, share: float, band_bytes: int
) -> None:
    target = tmp_path / "out"

    with pytest.MonkeyPatch.context() as patch, opened(tmp_path, FILES[kind]) as scan:
        patch.setattr(flat, "BAND_BYTES", band_bytes)
        edit, mask = random_edit(scan, seed, share)
        scan.write_restored(target, [edit])
        verify(scan, target, mask, [edit])
        expected = FRAMES[kind][..., : scan.info.color_channels].copy()
        expected[mask] = edit.samples[mask]
        with open_flat(target) as result:
            assert np.array_equal(result.read_rows(0, scan.info.height), expected)

    before, after = np.frombuffer(FILES[kind], np.uint8), np.frombuffer(target.read_bytes(), np.uint8)
    assert len(before) == len(after)
    sample_bytes = expected.shape[2] * expected.itemsize
    assert int((before != after).sum()) <= int(mask.sum()) * sample_bytes


def other_decoder(content: bytes, kind: str) -> NDArray[np.generic]:
    """Pillow for BMP, OpenCV for PNM (Pillow turns 16 bits into 8)."""
    if kind.startswith("bmp"):
        read = np.asarray(Image.open(io.BytesIO(content)))
    else:
        read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        read = read[..., ::-1] if read.ndim == 3 else read
    return read if read.ndim == 3 else read[..., None]


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind[:3] in {"bmp", "pnm"}])
def test_an_independent_decoder_reads_the_result(tmp_path: Path, kind: str) -> None:
    with opened(tmp_path, FILES[kind]) as scan:
        edit, mask = random_edit(scan, 5)
        scan.write_restored(tmp_path / "out", [edit])

    expected = FRAMES[kind].copy()
    expected[mask] = edit.samples[mask]
    content = (tmp_path / "out").read_bytes()
    assert np.array_equal(other_decoder(content, kind), expected)


@pytest.mark.parametrize("kind", ["bmp with all", "bmp 1 40 bottom-up", "pnm 3 16", "pam 4 8", "pnm with a tail"])
def test_one_changed_byte_anywhere_in_the_result_is_found(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"

    with opened(tmp_path, FILES[kind]) as scan:
        edit, mask = random_edit(scan, 3)
        scan.write_restored(target, [edit])
        written = target.read_bytes()
        near_the_ends = [*range(160), *range(len(written) - 30, len(written))]
        for place in {*near_the_ends, *np.random.default_rng(0).integers(0, len(written), 60).tolist()}:
            spoilt = bytearray(written)
            spoilt[place] ^= 1 << place % 8
            target.write_bytes(spoilt)
            with pytest.raises(PreservationError):
                verify(scan, target, mask, [edit])
        for other in (written[:-1], written + b"\0"):
            target.write_bytes(other)
            with pytest.raises(PreservationError):
                verify(scan, target, mask, [edit])


def test_the_resolution_and_the_profile_of_a_bmp_are_known(tmp_path: Path) -> None:
    with opened(tmp_path, FILES["bmp with all"]) as scan:
        assert (scan.info.dpi, scan.info.has_icc_profile) == (4000.0, True)
    with opened(tmp_path, FILES["bmp 3 124 bottom-up"]) as scan:
        assert not scan.info.has_icc_profile


def test_the_scan_itself_is_never_written_over(tmp_path: Path) -> None:
    with opened(tmp_path, FILES["bmp 3 40 top-down"]) as scan, pytest.raises(OutputError, match="scan itself"):
        scan.write_restored(tmp_path / "scan", [])

    assert (tmp_path / "scan").read_bytes() == FILES["bmp 3 40 top-down"]


def test_an_edit_of_another_depth_is_our_own_mistake(tmp_path: Path) -> None:
    edit = Edit(0, 0, np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), bool))

    with opened(tmp_path, pnm(grainy(3, 16))) as scan, pytest.raises(ArrayContractError, match="uint16"):
        scan.write_restored(tmp_path / "out", [edit])
