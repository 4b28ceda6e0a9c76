"""JPEG scans on a station without libturbojpeg: refused, or encoded anew where that is allowed, and then it is said."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawing_jpeg import HEIGHT, KINDS, WIDTH, decoded, exif, opened, pillow_jpeg, specks, verify

from spotless_core.errors import PreservationError, UnsupportedScanError
from spotless_core.image_io import turbojpeg
from spotless_core.image_io.header_jpeg import check_jpeg

ENCODED_ANEW = ["444", "422", "420", "grey", "rgb", "cmyk", "progressive", "restart", "best", "tiny"]


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    turbojpeg._library.cache_clear()
    monkeypatch.setattr(turbojpeg.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(turbojpeg, "LIBRARY_NAMES", ("libturbojpeg-not-there.so",))
    yield
    turbojpeg._library.cache_clear()


@pytest.mark.usefixtures("without_library")
def test_without_libturbojpeg_reading_works_and_writing_names_the_package(tmp_path: Path) -> None:
    with opened(tmp_path, KINDS["444"]) as scan:
        edits, _ = specks(scan)
        with pytest.raises(UnsupportedScanError, match=r"libturbojpeg0.*jpeg-turbo.*allow_reencode"):
            scan.write_restored(tmp_path / "out.jpg", edits)
        scan.write_restored(tmp_path / "copy.jpg", [])

    assert not turbojpeg.is_available()
    assert not (tmp_path / "out.jpg").exists()
    assert (tmp_path / "copy.jpg").read_bytes() == KINDS["444"]


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("kind", ENCODED_ANEW)
def test_where_it_is_allowed_the_picture_is_encoded_anew_with_the_scans_own_steps(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out.jpg"

    with opened(tmp_path, KINDS[kind], allow_reencode=True) as scan:
        edits, mask = specks(scan)
        report = scan.write_restored(target, edits)
        verify(scan, target, mask, edits)

        assert report.preservation == scan.info.preservation == "reencoded"
        assert report.segments_touched == check_jpeg(KINDS[kind], 10).mcus
        assert scan.may_change(mask).all()
    before, after = check_jpeg(KINDS[kind], 10), check_jpeg(target.read_bytes(), 10)
    steps = [header.tables[item.table] for header in (before, after) for item in header.components]
    assert steps[: len(steps) // 2] == steps[len(steps) // 2 :]
    shift = np.abs(decoded(KINDS[kind]).astype(int) - decoded(target.read_bytes()))
    assert shift[mask].mean() > 20
    if (~mask).any():
        assert shift[~mask].mean() < 2


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("kind", ["440", "411", "ycck"])
def test_what_cannot_be_encoded_alike_is_refused(tmp_path: Path, kind: str) -> None:
    with opened(tmp_path, KINDS[kind], allow_reencode=True) as scan:
        edits, _ = specks(scan)
        with pytest.raises(UnsupportedScanError, match="cannot be encoded anew"):
            scan.write_restored(tmp_path / "out.jpg", edits)

    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.usefixtures("without_library")
def test_metadata_is_carried_and_an_empty_mask_gives_the_very_file(tmp_path: Path) -> None:
    content = pillow_jpeg(exif=exif(), icc_profile=bytes(90_000), comment=b"roll 7", subsampling=2) + b"tail"
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content, allow_reencode=True) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        scan.check_restored(target, mask)
        written = target.read_bytes()
        report = scan.write_restored(target, [])
        scan.check_restored(target, np.zeros((HEIGHT, WIDTH), bool))

    before = check_jpeg(content, 10).carried(0, only_metadata=True)
    assert check_jpeg(written, 10).carried(0, only_metadata=True) == before
    assert written.endswith(b"\xff\xd9tail")
    assert (target.read_bytes(), report.segments_touched) == (content, 0)


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("damage", ["other picture", "comment", "other size"])
def test_a_wrong_result_of_encoding_anew_is_found(tmp_path: Path, damage: str) -> None:
    content = pillow_jpeg(comment=b"mine")
    frame = decoded(content)
    wrong = {
        "other picture": pillow_jpeg(comment=b"mine", frame=255 - frame),
        "comment": pillow_jpeg(comment=b"nine"),
        "other size": pillow_jpeg(comment=b"mine", frame=frame[:90]),
    }[damage]
    (tmp_path / "out.jpg").write_bytes(wrong)

    with opened(tmp_path, content, allow_reencode=True) as scan:
        _, mask = specks(scan)
        with pytest.raises(PreservationError):
            scan.check_restored(tmp_path / "out.jpg", mask)


def test_with_libturbojpeg_blocks_are_kept_though_encoding_anew_is_allowed(tmp_path: Path) -> None:
    if not turbojpeg.is_available():
        pytest.skip("libturbojpeg is not installed")

    with opened(tmp_path, KINDS["420"], allow_reencode=True) as scan:
        assert scan.info.preservation == "block"
