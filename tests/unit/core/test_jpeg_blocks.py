"""JPEG repairs block by block: what the mask does not meet keeps its coefficients, and Pillow agrees."""

from pathlib import Path

import numpy as np
import pytest
from drawing_jpeg import (
    ENCODERS,
    HEIGHT,
    KINDS,
    WIDTH,
    coefficients,
    decoded,
    needs_library,
    opened,
    pillow_jpeg,
    specks,
    verify,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spotless_core.image_io.header_jpeg import check_jpeg
from spotless_core.image_io.jpeg_blocks import touched_blocks
from spotless_core.photo import Edit


@needs_library
@pytest.mark.parametrize("kind", KINDS)
def test_every_block_outside_the_mask_keeps_its_coefficients(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out.jpg"

    with opened(tmp_path, KINDS[kind]) as scan:
        edits, mask = specks(scan)
        report = scan.write_restored(target, edits)
        scan.check_restored(target, mask)

    before, after = coefficients(KINDS[kind]), coefficients(target.read_bytes())
    assert before.keys() == after.keys()
    changed = 0
    for index, component in enumerate(check_jpeg(KINDS[kind], 2000).components):
        touched = touched_blocks(mask, component)
        for row in range(len(touched)):
            assert np.array_equal(before[index, row][~touched[row]], after[index, row][~touched[row]])
            changed += int((before[index, row] != after[index, row]).any(axis=(1, 2)).sum())
    assert changed > 0
    assert report.segments_touched > 0


@needs_library
@pytest.mark.parametrize("kind", KINDS)
def test_no_pixel_changes_beyond_what_is_promised(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out.jpg"

    with opened(tmp_path, KINDS[kind]) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        kept = ~scan.may_change(mask)

        assert not (kept & mask).any()
    assert np.array_equal(decoded(KINDS[kind])[kept], decoded(target.read_bytes())[kept])


@needs_library
@pytest.mark.parametrize("kind", ENCODERS)
def test_a_repair_is_as_near_as_encoding_the_whole_frame_anew(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out.jpg"
    with opened(tmp_path, KINDS[kind]) as scan:
        frame = scan.read_rows(0, HEIGHT)
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        may_change = scan.may_change(mask)
    wanted = frame.copy()
    for edit in edits:
        box = wanted[edit.top : edit.top + edit.mask.shape[0], edit.left : edit.left + edit.mask.shape[1]]
        box[edit.mask] = edit.samples[edit.mask]

    def error(content: bytes, where: NDArray[np.bool_]) -> float:
        pixels = decoded(content).astype(int)
        return float(np.abs(pixels - wanted)[where].mean())

    # The encoder for grey takes its one channel from the middle of three.
    anew = ENCODERS[kind](np.repeat(wanted, 4 - wanted.shape[2], axis=2) if wanted.shape[2] == 1 else wanted)
    written = target.read_bytes()
    assert error(written, mask) < error(KINDS[kind], mask) / 3
    assert error(written, mask) < 1.2 * error(anew, mask) + 0.5
    assert error(written, may_change & ~mask) < 1.1 * error(anew, may_change & ~mask) + 0.5


@needs_library
def test_clipped_dust_leaves_no_ghost(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    frame = np.full((64, 64, 3), 40) + random.integers(-4, 5, (64, 64, 1))
    down, across = np.mgrid[:64, :64]
    frame[np.abs(down - across) < 4] = 255  # the decoded samples overshoot on this hair and are clipped
    target = tmp_path / "out.jpg"

    with opened(tmp_path, pillow_jpeg(frame=frame.astype(np.uint8), quality=40)) as scan:
        mask = scan.read_rows(0, 64).min(axis=2) > 180
        scan.write_restored(target, [Edit(0, 0, np.full(frame.shape, 40, np.uint8), mask)])

    off = decoded(target.read_bytes())[mask].astype(int) - 40
    assert abs(off.mean()) < 4


@needs_library
def test_a_grey_jpeg_with_odd_sampling_factors_is_kept_as_well(tmp_path: Path) -> None:
    content = bytearray(KINDS["grey"])
    content[content.index(b"\xff\xc0") + 11] = 0x22
    target = tmp_path / "out.jpg"

    with opened(tmp_path, bytes(content)) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        scan.check_restored(target, mask)
        kept = ~scan.may_change(mask)

    assert np.array_equal(decoded(bytes(content))[kept], decoded(target.read_bytes())[kept])


@needs_library
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(ENCODERS)), seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 1e-4, 0.01]))
def test_whatever_the_mask_only_its_blocks_change(tmp_path: Path, kind: str, seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((HEIGHT, WIDTH)) < share
    target = tmp_path / "out.jpg"

    with opened(tmp_path, KINDS[kind]) as scan:
        samples = random.integers(0, 256, (HEIGHT, WIDTH, scan.info.color_channels)).astype(np.uint8)
        edits = [Edit(0, 0, samples, mask)]
        scan.write_restored(target, edits)
        verify(scan, target, mask, edits)
        kept = ~scan.may_change(mask)

    assert np.array_equal(decoded(KINDS[kind])[kept], decoded(target.read_bytes())[kept])
    if not mask.any():
        assert target.read_bytes() == KINDS[kind]
