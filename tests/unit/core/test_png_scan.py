"""PNG scans: exact reading, and copies in which only the picture data under the mask is new."""

import errno
import os
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from drawing_png import ALL_KINDS, HEIGHT, chunks, encoded, frame_mask, grainy_frame, opened, speck

from spotless_core.errors import ArrayContractError, OutputError, TruncatedScanError
from spotless_core.image_io.png_stream import chunk


@pytest.mark.parametrize(("channels", "dtype"), ALL_KINDS)
def test_every_kind_of_png_is_read_with_its_stored_values(tmp_path: Path, channels: int, dtype: type) -> None:
    frame = grainy_frame(channels, dtype)

    with opened(tmp_path, encoded(frame)) as scan:
        rows = scan.read_rows(5, 40)

        assert rows.dtype == frame.dtype
        assert rows.dtype.isnative
        assert np.array_equal(rows, frame[5:40, :, : scan.info.color_channels])
        assert (scan.info.channels, scan.info.bits) == (channels, frame.itemsize * 8)
        assert scan.read_infrared_rows(0, 1) is None


def test_a_transparent_colour_and_gamma_do_not_bend_the_values(tmp_path: Path) -> None:
    frame = grainy_frame(3, np.uint16)
    extra = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"tRNS", frame[0, 0].astype(">u2").tobytes())

    with opened(tmp_path, encoded(frame, extra + chunk(b"sBIT", b"\x0c\x0c\x0c"))) as scan:
        assert np.array_equal(scan.read_rows(0, HEIGHT), frame)


@pytest.mark.parametrize(("channels", "dtype"), ALL_KINDS)
def test_only_samples_under_the_mask_change(tmp_path: Path, channels: int, dtype: type) -> None:
    frame = grainy_frame(channels, dtype)
    edit = speck(frame)
    mask = frame_mask(edit)
    expected = frame.copy()
    expected[mask, : edit.samples.shape[2]] = edit.samples[0, 0]
    target = tmp_path / "out.png"

    with opened(tmp_path, encoded(frame)) as scan:
        report = scan.write_restored(target, [edit])
        scan.check_restored(target, mask)

        assert np.array_equal(scan.may_change(mask), mask)

    decoded = imagecodecs.png_decode(target.read_bytes()).reshape(frame.shape)
    assert np.array_equal(decoded, expected)
    assert (report.preservation, report.segments_touched) == ("exact", 1)


def test_reading_after_writing_still_gives_the_scan(tmp_path: Path) -> None:
    frame = grainy_frame(3, np.uint16)

    with opened(tmp_path, encoded(frame)) as scan:
        scan.write_restored(tmp_path / "out.png", [speck(frame)])

        assert np.array_equal(scan.read_rows(0, HEIGHT), frame)


def test_a_frame_of_many_bands_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotless_core.image_io.png.BAND_BYTES", 1000)
    monkeypatch.setattr("spotless_core.image_io.png_stream.CHUNK_BYTES", 900)
    frame = grainy_frame(3, np.uint16)
    edits = [speck(frame, top=top, left=top // 2) for top in range(0, HEIGHT - 6, 5)]
    expected = frame.copy()
    for edit in edits:
        expected[frame_mask(edit)] = edit.samples[0, 0]
    target = tmp_path / "out.png"

    with opened(tmp_path, encoded(frame)) as scan:
        scan.write_restored(target, edits)

    assert np.array_equal(imagecodecs.png_decode(target.read_bytes()), expected)
    assert sum(name == b"IDAT" for name, _ in chunks(target.read_bytes())) > 5


def test_an_edit_that_leaves_the_frame_is_our_own_mistake(tmp_path: Path) -> None:
    frame = grainy_frame(3, np.uint8)

    with opened(tmp_path, encoded(frame)) as scan, pytest.raises(ArrayContractError, match="leaves the frame"):
        scan.write_restored(tmp_path / "out.png", [speck(frame, top=HEIGHT - 3)])

    assert not (tmp_path / "out.png").exists()


def test_an_edit_of_another_depth_is_our_own_mistake(tmp_path: Path) -> None:
    frame = grainy_frame(3, np.uint16)

    with opened(tmp_path, encoded(frame)) as scan, pytest.raises(ArrayContractError, match="uint16"):
        scan.write_restored(tmp_path / "out.png", [speck(frame.astype(np.uint8))])


def test_a_result_that_cannot_be_created_is_an_output_error(tmp_path: Path) -> None:
    with opened(tmp_path, encoded(grainy_frame(1, np.uint8))) as scan, pytest.raises(OutputError):
        scan.write_restored(tmp_path / "missing" / "out.png", [])


def test_a_full_disk_is_an_output_error_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with opened(tmp_path, encoded(grainy_frame(1, np.uint8))) as scan, pytest.raises(OutputError, match="No space"):
        scan.write_restored(tmp_path / "out.png", [])

    assert not (tmp_path / "out.png").exists()


def test_a_scan_that_changed_since_it_was_opened_is_not_copied(tmp_path: Path) -> None:
    content = encoded(grainy_frame(1, np.uint8))

    with opened(tmp_path, content) as scan:
        with (tmp_path / "scan.png").open("ab") as file:
            file.write(b"more")
        with pytest.raises(TruncatedScanError, match="changed"):
            scan.write_restored(tmp_path / "out.png", [])


def test_the_scan_itself_is_never_written_over(tmp_path: Path) -> None:
    content = encoded(grainy_frame(1, np.uint8))

    with opened(tmp_path, content) as scan, pytest.raises(OutputError, match="scan itself"):
        scan.write_restored(tmp_path / "scan.png", [])

    assert (tmp_path / "scan.png").read_bytes() == content
