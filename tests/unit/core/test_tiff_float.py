"""Float TIFF scans: what is no number is refused, and bits that compare equal are still told apart."""

from pathlib import Path

import numpy as np
import pytest
from drawing_tiff import HEIGHT, WIDTH, grainy, write

from spotless_core.errors import ArrayContractError, PreservationError, ScanError
from spotless_core.image_io.tiff import TiffScan
from spotless_core.photo import Edit


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float_scan_with_samples_that_are_no_numbers_is_refused_with_its_row(tmp_path: Path, value: float) -> None:
    samples = grainy(HEIGHT, WIDTH, 3).astype("f4")
    samples[41, 7, 1] = value
    source = write(tmp_path / "scan.tif", samples)

    with TiffScan(source, 10) as scan:
        assert np.array_equal(scan.read_rows(0, 41), samples[:41])
        with pytest.raises(ScanError, match="row 41 has float samples that are no numbers"):
            scan.read_rows(30, HEIGHT)


def test_a_repair_that_is_no_number_is_our_own_mistake(tmp_path: Path) -> None:
    source = write(tmp_path / "scan.tif", grainy(HEIGHT, WIDTH, 3).astype("f4"))
    edit = Edit(0, 0, np.full((2, 2, 3), np.nan, "f4"), np.ones((2, 2), np.bool_))

    with TiffScan(source, 10) as scan, pytest.raises(ArrayContractError, match="no numbers"):
        scan.write_restored(tmp_path / "out.tif", [edit])


def test_minus_zero_outside_the_mask_is_no_zero(tmp_path: Path) -> None:
    samples = np.zeros((HEIGHT, WIDTH, 3), "f4")
    source = write(tmp_path / "scan.tif", samples, compression="lzw")
    samples[30, 2, 0] = -0.0
    target = write(tmp_path / "out.tif", samples, compression="lzw")
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[30, 40] = True

    with TiffScan(source, 10) as scan, pytest.raises(PreservationError):
        scan.check_restored(target, mask)
