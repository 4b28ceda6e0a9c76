"""What a PNG copy keeps, whatever the mask, and that a copy which lost some of it is never let through."""

import io
import os
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from drawing_png import ALL_KINDS, HEIGHT, WIDTH, chunks, encoded, frame_mask, grainy_frame, opened, speck
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from spotless_core.errors import PreservationError
from spotless_core.image_io.png import PngScan
from spotless_core.image_io.png_stream import chunk
from spotless_core.image_io.verify import verify_restored
from spotless_core.photo import Edit


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(ALL_KINDS), seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.003, 0.3]))
def test_whatever_the_mask_only_its_samples_change(
    tmp_path: Path, kind: tuple[int, type], seed: int, share: float
) -> None:
    frame = grainy_frame(*kind)
    random = np.random.default_rng(seed)
    mask = random.random((HEIGHT, WIDTH)) < share
    target = tmp_path / "out.png"

    with opened(tmp_path, encoded(frame, tail=b"tail")) as scan:
        colors = scan.info.color_channels
        samples = random.integers(0, scan.info.full_scale + 1, (HEIGHT, WIDTH, colors)).astype(frame.dtype)
        scan.write_restored(target, [Edit(0, 0, samples, mask)])
        verify_restored(scan, target, mask, [Edit(0, 0, samples, mask)], open_target=lambda path: PngScan(path, 10))

    expected = frame.copy()
    expected[mask, :colors] = samples[mask]
    assert np.array_equal(imagecodecs.png_decode(target.read_bytes()).reshape(frame.shape), expected)
    assert mask.any() or target.read_bytes() == encoded(frame, tail=b"tail")


@pytest.mark.parametrize("channels", [3, 4])
def test_one_changed_byte_anywhere_in_the_result_is_found(tmp_path: Path, channels: int) -> None:
    frame = grainy_frame(channels, np.uint16)
    edit = speck(frame)
    extra = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"prIv", bytes(40))
    content = encoded(frame, extra, chunk(b"tEXt", b"Comment\0after"), b"tail")
    target = tmp_path / "out.png"

    with opened(tmp_path, content) as scan:
        scan.write_restored(target, [edit])
        written = target.read_bytes()
        near_the_ends = [*range(160), *range(len(written) - 60, len(written))]
        for place in {*near_the_ends, *np.random.default_rng(0).integers(0, len(written), 80).tolist()}:
            spoilt = bytearray(written)
            spoilt[place] ^= 1 << place % 8
            target.write_bytes(spoilt)
            with pytest.raises(PreservationError):
                verify_restored(scan, target, frame_mask(edit), [edit], open_target=lambda path: PngScan(path, 10))


def test_a_png_by_another_writer_is_kept_and_read_by_exiftool_as_before(tmp_path: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    facts = PngInfo()
    facts.add_text("Software", "a scanner program")
    facts.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    exif = Image.Exif()
    exif[274], exif[271] = 8, "maker"
    path, target = tmp_path / "scan.png", tmp_path / "out.png"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frame = grainy_frame(3, np.uint8)
    Image.fromarray(frame).save(path, pnginfo=facts, exif=exif, icc_profile=profile, dpi=(3200, 3200))

    with PngScan(path, 10) as scan:
        scan.write_restored(target, [speck(frame)])

        assert (scan.info.orientation, scan.info.dpi, scan.info.has_icc_profile) == (8, 3200.0, True)

    def tags(file: Path) -> list[str]:
        command = ["exiftool", "-a", "-G1", "-u", "-s", "--System:all", "--ExifTool:all", str(file)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    assert tags(target) == tags(path)
    assert sum("[ICC" in tag for tag in tags(path)) > 5


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


@pytest.mark.parametrize("after", [False, True], ids=["before the picture", "behind it"])
def test_an_index_of_the_picture_data_goes_as_soon_as_they_are_made_anew(tmp_path: Path, *, after: bool) -> None:
    frame = grainy_frame(3, np.uint8)
    index = chunk(b"iDOT", struct.pack(">7I", 2, 0, 31, 40, 31, 30, 2000))
    text = chunk(b"tEXt", b"Comment\0kept")
    content = encoded(frame, text, index + text) if after else encoded(frame, text + index + text, text)
    edit, target = speck(frame), tmp_path / "out.png"

    with opened(tmp_path, content) as scan:
        report = scan.write_restored(target, [edit])
        scan.check_restored(target, frame_mask(edit))
        written = target.read_bytes()
        untouched = scan.write_restored(target, [])
        scan.check_restored(target, frame_mask(edit))

    assert target.read_bytes() == content
    kept = [data for name, data in chunks(content) if name not in {b"IDAT", b"iDOT"}]
    assert [data for name, data in chunks(written) if name != b"IDAT"] == kept
    assert "iDOT" in report.notes[0]
    assert untouched.notes == ()


def test_a_result_that_kept_a_stale_index_or_lost_more_than_it_is_found(tmp_path: Path) -> None:
    frame = grainy_frame(3, np.uint8)
    index, text = chunk(b"iDOT", bytes(28)), chunk(b"tEXt", b"Comment\0kept")
    edit, target = speck(frame), tmp_path / "out.png"

    with opened(tmp_path, encoded(frame, index + text)) as scan:
        scan.write_restored(target, [edit])
        written = target.read_bytes()
        for spoilt in (
            written.replace(text, b""), written.replace(text, index + text), written.replace(text, text + text)
        ):  # fmt: skip
            target.write_bytes(spoilt)
            with pytest.raises(PreservationError):
                scan.check_restored(target, frame_mask(edit))
