"""JPEG scans: copies in which only the blocks under the mask are new, proven by coefficients and by another decoder."""

import io
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from spotless_core.errors import (
    ArrayContractError,
    OutputError,
    PreservationError,
    ScanError,
    SpotlessError,
    UnsupportedScanError,
)
from spotless_core.image_io import turbojpeg
from spotless_core.image_io.header_jpeg import check_jpeg
from spotless_core.image_io.jpeg import JpegScan
from spotless_core.image_io.jpeg_blocks import touched_blocks
from spotless_core.image_io.turbojpeg import Blocks, visit_blocks
from spotless_core.photo import Edit

HEIGHT, WIDTH = 99, 117

needs_library = pytest.mark.skipif(not turbojpeg.is_available(), reason="libturbojpeg is not installed")


def grainy_frame(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Draw coloured slopes with grain, h×w×3."""
    random = np.random.default_rng(3)
    down, across = np.mgrid[:height, :width] / 120
    slopes = np.stack([0.3 + 0.4 * across, 0.6 - 0.3 * down, 0.4 + 0.2 * np.sin(5 * across + 3 * down)], axis=2)
    return ((slopes + random.normal(0, 0.04, slopes.shape)).clip(0, 1) * 255).astype(np.uint8)


def pillow_jpeg(*, grey: bool = False, frame: NDArray[np.uint8] | None = None, **options: object) -> bytes:
    frame = grainy_frame() if frame is None else frame
    image = Image.fromarray(frame[..., 1] if grey else frame)
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 90, "subsampling": 0, **options})
    return file.getvalue()


def exif() -> Image.Exif:
    block = Image.Exif()
    block[274], block[282], block[296] = 6, 4000.0, 2
    return block


Encoder = Callable[[NDArray[np.uint8]], bytes]


def pillow_encoder(**options: object) -> Encoder:
    return lambda frame: pillow_jpeg(frame=frame, **options)


def other_encoder(subsampling: str) -> Encoder:
    return lambda frame: bytes(imagecodecs.jpeg8_encode(frame, level=90, subsampling=subsampling))


ENCODERS: dict[str, Encoder] = {
    "444": pillow_encoder(),
    "422": pillow_encoder(subsampling=1),
    "420": pillow_encoder(subsampling=2),
    "440": other_encoder("440"),
    "411": other_encoder("411"),
    "grey": pillow_encoder(grey=True),
    "rgb": pillow_encoder(keep_rgb=True),
    "progressive": pillow_encoder(subsampling=2, progressive=True),
    "progressive grey": pillow_encoder(grey=True, progressive=True),
    "restart": pillow_encoder(subsampling=2, restart_marker_blocks=3),
    "optimised": pillow_encoder(optimize=True, quality=97),
    "best": pillow_encoder(quality=100),
}
KINDS = {
    **{kind: encode(grainy_frame()) for kind, encode in ENCODERS.items()},
    "aligned": pillow_jpeg(subsampling=2, frame=grainy_frame(96, 112)),
    "tiny": pillow_jpeg(subsampling=2, frame=grainy_frame(1, 1)),
}


def opened(tmp_path: Path, content: bytes) -> JpegScan:
    path = tmp_path / "scan.jpg"
    path.write_bytes(content)
    return JpegScan(path, 2000.0)


def specks(scan: JpegScan) -> tuple[list[Edit], NDArray[np.bool_]]:
    """Round repairs of the surroundings' mean, one of them in the last corner, and their mask in the frame."""
    height, width = scan.info.height, scan.info.width
    frame = scan.read_rows(0, height)
    mask = np.zeros((height, width), bool)
    edits = []
    for top, left, size in ((20, 30, 9), (40, 77, 5), (height - 6, width - 7, 6)):
        top, left = max(0, min(top, height - 1)), max(0, min(left, width - 1))  # noqa: PLW2901
        box = (slice(top, min(height, top + size)), slice(left, min(width, left + size)))
        rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
        area = frame[box]
        disc = (rows**2 + columns**2 <= (size / 2) ** 2)[: area.shape[0], : area.shape[1]]
        disc[0, 0] = True
        samples = np.broadcast_to(255 - area.mean((0, 1)), area.shape).astype(np.uint8)
        edits.append(Edit(top, left, samples, disc))
        mask[box] |= disc
    return edits, mask


def coefficients(content: bytes) -> dict[tuple[int, int], Blocks]:
    found: dict[tuple[int, int], Blocks] = {}

    def keep(component: int, row: int, blocks: Blocks) -> None:
        found[component, row] = blocks.copy()

    visit_blocks(content[: check_jpeg(content, 2000).end], keep)
    return found


def pillow_pixels(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_jpeg_is_read_as_another_decoder_reads_it(tmp_path: Path, kind: str) -> None:
    with opened(tmp_path, KINDS[kind]) as scan:
        rows = scan.read_rows(0, scan.info.height)

        expected = pillow_pixels(KINDS[kind]).reshape(rows.shape)
        assert rows.dtype == np.uint8
        assert np.array_equal(rows, expected)
        assert scan.info.preservation == "block"
        assert scan.read_infrared_rows(0, 1) is None


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
    assert np.array_equal(pillow_pixels(KINDS[kind])[kept], pillow_pixels(target.read_bytes())[kept])


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
        pixels = pillow_pixels(content).reshape(frame.shape).astype(int)
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

    off = pillow_pixels(target.read_bytes())[mask].astype(int) - 40
    assert abs(off.mean()) < 4


@needs_library
@pytest.mark.parametrize("progressive", [False, True])
def test_metadata_and_the_bytes_after_the_end_are_carried(tmp_path: Path, progressive: bool) -> None:
    content = pillow_jpeg(
        subsampling=2,
        progressive=progressive,
        exif=exif(),
        icc_profile=bytes(range(256)) * 300,
        comment=b"negative 12",
        xmp=b"<x:xmpmeta/>",
        dpi=(72, 72),
        restart_marker_blocks=2,
    )
    content = content[:2] + b"\xff\xed\x00\x0fPhotoshop 3.0" + content[2:] + b"tail after the end"
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        scan.check_restored(target, mask)

    written = target.read_bytes()
    before, after = check_jpeg(content, 2000), check_jpeg(written, 2000)
    metadata = [segment.raw for segment in before.segments if segment.marker >= 0xE0]
    assert len(metadata) >= 6
    assert [segment.raw for segment in after.segments if segment.marker >= 0xE0] == metadata
    assert after.is_progressive == progressive
    assert written.endswith(b"\xff\xd9tail after the end")


@needs_library
def test_a_comment_between_scans_is_carried_before_the_picture(tmp_path: Path) -> None:
    content = pillow_jpeg(progressive=True)
    second_scan = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    tables = content.rindex(b"\xff\xc4", 0, second_scan)
    content = content[:tables] + b"\xff\xfe\x00\x06late" + content[tables:]
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        scan.check_restored(target, mask)

    assert b"\xff\xfe\x00\x06late" in target.read_bytes()


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

    assert np.array_equal(pillow_pixels(bytes(content))[kept], pillow_pixels(target.read_bytes())[kept])


def test_the_header_facts_come_from_exif_and_profile(tmp_path: Path) -> None:
    with opened(tmp_path, pillow_jpeg(exif=exif(), dpi=(72, 72), icc_profile=b"x" * 200)) as scan:
        assert (scan.info.dpi, scan.info.orientation, scan.info.has_icc_profile) == (4000.0, 6, True)


@pytest.mark.parametrize("kind", ["none", "empty mask", "same values"])
def test_edits_that_change_nothing_give_a_byte_identical_file(tmp_path: Path, kind: str) -> None:
    if kind == "same values" and not turbojpeg.is_available():
        pytest.skip("libturbojpeg is not installed")
    content = KINDS["restart"] + b"tail"
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        frame = scan.read_rows(0, HEIGHT)
        same = Edit(3, 4, frame[3:19, 4:22].copy(), np.ones((16, 18), bool))
        empty = Edit(3, 4, np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8), bool))
        report = scan.write_restored(target, {"none": [], "empty mask": [empty], "same values": [same]}[kind])
        scan.check_restored(target, np.zeros((HEIGHT, WIDTH), bool))

    assert target.read_bytes() == content
    assert report.segments_touched == 0


@needs_library
@pytest.mark.parametrize("damage", ["block", "comment", "tail", "cut", "empty mask"])
def test_a_result_that_lost_something_is_found(tmp_path: Path, damage: str) -> None:
    content = pillow_jpeg(comment=b"mine", subsampling=2) + b"tail"
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        edits, mask = specks(scan)
        elsewhere = Edit(60, 5, np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool))
        scan.write_restored(target, [*edits, elsewhere] if damage == "block" else edits)
        written = target.read_bytes()
        target.write_bytes(
            {
                "comment": written.replace(b"mine", b"nine"),
                "tail": written[:-1],
                "cut": written[:-600],
            }.get(damage, written)
        )

        with pytest.raises(PreservationError):
            scan.check_restored(target, mask & (damage != "empty mask"))


def test_without_libturbojpeg_reading_works_and_writing_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turbojpeg._library.cache_clear()
    monkeypatch.setattr(turbojpeg.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(turbojpeg, "LIBRARY_NAMES", ("libturbojpeg-not-there.so",))

    with opened(tmp_path, KINDS["444"]) as scan:
        edits, _ = specks(scan)
        with pytest.raises(UnsupportedScanError, match=r"libturbojpeg0.*jpeg-turbo"):
            scan.write_restored(tmp_path / "out.jpg", edits)
        scan.write_restored(tmp_path / "copy.jpg", [])

    assert not turbojpeg.is_available()
    assert not (tmp_path / "out.jpg").exists()
    assert (tmp_path / "copy.jpg").read_bytes() == KINDS["444"]
    turbojpeg._library.cache_clear()


@needs_library
def test_damaged_compressed_data_is_found_before_anything_is_written(tmp_path: Path) -> None:
    good = KINDS["444"]
    content = good[: len(good) * 2 // 3] + b"\xff\xd9"

    with opened(tmp_path, content) as scan:
        edit = Edit(2, 2, np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool))
        with pytest.raises(ScanError, match="damaged"):
            scan.write_restored(tmp_path / "out.jpg", [edit])

    assert not (tmp_path / "out.jpg").exists()


def test_an_edit_that_leaves_the_frame_is_our_own_mistake(tmp_path: Path) -> None:
    edit = Edit(HEIGHT - 2, 0, np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool))

    with opened(tmp_path, KINDS["444"]) as scan, pytest.raises(ArrayContractError, match="leaves the frame"):
        scan.write_restored(tmp_path / "out.jpg", [edit])


def test_the_scan_itself_is_never_written_over(tmp_path: Path) -> None:
    with opened(tmp_path, KINDS["444"]) as scan, pytest.raises(OutputError, match="scan itself"):
        scan.write_restored(tmp_path / "scan.jpg", [])

    assert (tmp_path / "scan.jpg").read_bytes() == KINDS["444"]


def test_a_result_that_cannot_be_created_is_an_output_error(tmp_path: Path) -> None:
    with opened(tmp_path, KINDS["444"]) as scan, pytest.raises(OutputError):
        scan.write_restored(tmp_path / "missing" / "out.jpg", [])


@needs_library
@pytest.mark.parametrize("kind", ["420", "progressive"])
def test_mutated_jpeg_files_raise_only_our_own_errors(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(11)
    good = pillow_jpeg(
        subsampling=2, progressive=kind == "progressive", frame=grainy_frame(40, 48), exif=exif(), comment=b"c"
    )
    refused = 0

    for _ in range(300):
        content = bytearray(good)
        for _ in range(int(random.integers(1, 4))):
            place = int(random.integers(2, len(content)))
            content[place] = int(random.choice([0, 1, 127, 128, 255, int(random.integers(256))]))
        if random.random() < 0.2:
            content = content[: int(random.integers(len(content)))]
        try:
            with opened(tmp_path, bytes(content)) as scan:
                scan.read_rows(0, scan.info.height)
                edit = Edit(0, 0, np.full((1, 1, scan.info.color_channels), 9, np.uint8), np.ones((1, 1), bool))
                scan.write_restored(tmp_path / "out.jpg", [edit])
        except SpotlessError:
            refused += 1

    assert refused > 100
