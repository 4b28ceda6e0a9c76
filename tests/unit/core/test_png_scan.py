"""PNG scans: exact reading, and copies in which only the picture data under the mask is new."""

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from spotless_core.errors import ArrayContractError, OutputError, PreservationError, TruncatedScanError
from spotless_core.image_io.header_png import SIGNATURE
from spotless_core.image_io.png import PngScan
from spotless_core.image_io.png_stream import chunk
from spotless_core.photo import Edit

HEIGHT, WIDTH = 61, 47
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def grainy_frame(channels: int, dtype: type) -> NDArray:
    """Draw a slope with grain in all values of the depth, h×w×channels."""
    random = np.random.default_rng(channels)
    scale = np.iinfo(dtype).max
    slope = np.linspace(0.1, 0.9, WIDTH)[None, :, None] * np.linspace(1, 0.8, channels)
    return ((slope + random.normal(0, 0.05, (HEIGHT, WIDTH, channels))).clip(0, 1) * scale).astype(dtype)


def encoded(
    frame: NDArray, extra: bytes = b"", between: bytes = b"", tail: bytes = b"", idat_bytes: int = 700
) -> bytes:
    """Write a PNG by hand: `extra` chunks before, `between` after the picture, `tail` after IEND, many IDAT chunks."""
    height, width, channels = frame.shape
    header = struct.pack(">IIBBBBB", width, height, frame.itemsize * 8, COLOR_TYPES[channels], 0, 0, 0)
    rows = frame.astype(frame.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 9)
    idats = b"".join(chunk(b"IDAT", data[at : at + idat_bytes]) for at in range(0, len(data), idat_bytes))
    return SIGNATURE + chunk(b"IHDR", header) + extra + idats + between + chunk(b"IEND", b"") + tail


def speck(frame: NDArray, top: int = 20, left: int = 10, size: int = 6, colors: int | None = None) -> Edit:
    """A round repair whose samples differ from the frame also outside its mask."""
    dtype = frame.dtype
    colors = colors or (3 if frame.shape[2] >= 3 else 1)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    samples = np.full((size, size, colors), np.iinfo(dtype).max // 3, dtype)
    return Edit(top, left, samples, rows**2 + columns**2 <= (size / 2) ** 2)


def frame_mask(edit: Edit) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[edit.top : edit.top + edit.mask.shape[0], edit.left : edit.left + edit.mask.shape[1]] = edit.mask
    return mask


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 8
    while position < len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        found.append((content[position + 4 : position + 8], content[position : position + 12 + length]))
        position += 12 + length
        if found[-1][0] == b"IEND":
            break
    return found


def opened(tmp_path: Path, content: bytes) -> PngScan:
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    return PngScan(path, 2000.0)


ALL_KINDS = [(channels, dtype) for channels in (1, 2, 3, 4) for dtype in (np.uint8, np.uint16)]


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


def test_an_independent_decoder_reads_the_result(tmp_path: Path) -> None:
    frame = grainy_frame(3, np.uint8)
    edit = speck(frame)
    target = tmp_path / "out.png"

    with opened(tmp_path, encoded(frame)) as scan:
        scan.write_restored(target, [edit])

    read = np.asarray(Image.open(io.BytesIO(target.read_bytes())))
    mask = frame_mask(edit)
    assert np.array_equal(read[~mask], frame[~mask])
    assert np.array_equal(read[mask], np.broadcast_to(edit.samples[0, 0], read[mask].shape))


def test_all_other_chunks_and_the_bytes_after_the_end_are_carried(tmp_path: Path) -> None:
    frame = grainy_frame(3, np.uint16)
    extra = b"".join(
        chunk(name, content)
        for name, content in [
            (b"gAMA", struct.pack(">I", 45455)),
            (b"iCCP", b"profile\0\0" + zlib.compress(b"x" * 3000)),
            (b"pHYs", struct.pack(">IIB", 157480, 157480, 1)),
            (b"prIv", os.urandom(50)),
            (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
        ]
    )
    content = encoded(frame, extra, chunk(b"tEXt", b"Comment\0after") + chunk(b"tIME", bytes(7)), b"tail bytes")
    target = tmp_path / "out.png"

    with opened(tmp_path, content) as scan:
        scan.write_restored(target, [speck(frame)])

    written = target.read_bytes()
    before, after = chunks(content), chunks(written)
    assert [item for item in after if item[0] != b"IDAT"] == [item for item in before if item[0] != b"IDAT"]
    assert written.endswith(b"tail bytes")


@pytest.mark.parametrize("kind", ["none", "empty mask", "same values"])
def test_edits_that_change_nothing_give_a_byte_identical_file(tmp_path: Path, kind: str) -> None:
    frame = grainy_frame(4, np.uint16)
    content = encoded(frame, tail=b"tail")
    same = Edit(3, 4, frame[3:9, 4:12, :3].copy(), np.ones((6, 8), bool))
    empty = Edit(3, 4, np.zeros((6, 8, 3), np.uint16), np.zeros((6, 8), bool))
    target = tmp_path / "out.png"

    with opened(tmp_path, content) as scan:
        scan.write_restored(target, {"none": [], "empty mask": [empty], "same values": [same]}[kind])
        scan.check_restored(target, np.zeros((HEIGHT, WIDTH), bool))

    assert target.read_bytes() == content


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


@pytest.mark.parametrize("damage", ["chunk", "tail", "alpha", "cut"])
def test_a_result_that_lost_something_is_found(tmp_path: Path, damage: str) -> None:
    frame = grainy_frame(4, np.uint8)
    text = chunk(b"tEXt", b"Comment\0mine")
    damaged = frame.copy()
    damaged[50, 40, 3] ^= 1
    result = {
        "chunk": encoded(frame, chunk(b"tEXt", b"Comment\0nine"), tail=b"tail"),
        "tail": encoded(frame, text),
        "alpha": encoded(damaged, text, tail=b"tail"),
        "cut": encoded(frame, text, tail=b"tail")[:-30],
    }[damage]
    target = tmp_path / "out.png"
    target.write_bytes(result)

    with opened(tmp_path, encoded(frame, text, tail=b"tail")) as scan, pytest.raises(PreservationError):
        scan.check_restored(target, frame_mask(speck(frame)))


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
