"""The whole flow for one photo with a tiny network: what comes out, and what must never come out."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from drawing import draw_picture, make_bright_spot_models, write_scan
from drawing_lama import add_untrained_lama
from PIL import Image

from spotless_core import pipeline
from spotless_core.errors import ModelError, ScanError
from spotless_core.inpainting.lama_fill import LamaFill
from spotless_core.options import (
    DeviceChoice,
    DeviceOptions,
    InpaintMethod,
    InpaintOptions,
    MaskOptions,
    RestoreOptions,
)
from spotless_core.pipeline import OutputPaths, Tools, detect_photo, load_tools, restore_photo

CPU = DeviceOptions(DeviceChoice.CPU)
TELEA = InpaintOptions(method=InpaintMethod.TELEA)
OPTIONS = RestoreOptions(inpaint=TELEA, mask=MaskOptions(max_coverage=0.2))


@pytest.fixture(scope="module")
def tools(bright_spot_models: Path) -> Tools:
    return load_tools(CPU, TELEA, bright_spot_models)


def outputs(folder: Path) -> OutputPaths:
    return OutputPaths(folder / "image.part", folder / "mask.part", folder / "preview.part")


def test_specks_are_repaired_and_every_sample_outside_the_mask_is_kept(tmp_path: Path, tools: Tools) -> None:
    drawn = write_scan(tmp_path / "scan.tif")

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS)

    before, after = tifffile.imread(tmp_path / "scan.tif"), tifffile.imread(tmp_path / "image.part")
    with Image.open(tmp_path / "mask.part") as picture:
        mask = np.asarray(picture) == 255
    assert mask[drawn].all()
    assert (before[~mask] == after[~mask]).all()
    repaired = after[drawn].astype(float).mean() / 65535
    assert 0.3 < repaired < 0.65  # the scene's mid grey, where 0.97 was
    assert receipt.outcome == "done"
    assert receipt.outside_mask_identical
    assert receipt.coverage == pytest.approx(mask.mean(), abs=1e-6)


def write_scratched_scan(path: Path, column: int) -> None:
    """A grainy 600×800 scan of 4000 dpi with a scratch of 1.5 sigma, 3 px wide, from top to bottom.

    A lamp, larger than any speck, is its white: so the detector sees the rest as drawn, nowhere as bright as dust.
    """
    grey = draw_picture(600, 800, seed=5)
    cv2.circle(grey, (600, 300), 110, 0.97, -1)
    grey[:, column - 1 : column + 2] -= 1.5 * 0.02
    samples = np.rint(np.clip(grey, 0, 1) * 65535).astype(np.uint16)
    tifffile.imwrite(path, samples, photometric="minisblack", resolution=(4000, 4000), resolutionunit="INCH")


def depth_of_scratch(path: Path, column: int) -> float:
    """Mean of what lies beside the scratch less the scratch, in sigma of the grain."""
    samples = tifffile.imread(path).astype(float) / 65535
    beside = (samples[:, column - 9 : column - 4].mean() + samples[:, column + 5 : column + 10].mean()) / 2
    return float(beside - samples[:, column - 1 : column + 2].mean()) / 0.02


def test_a_scratch_that_no_pixel_shows_is_repaired_along_its_whole_length(tmp_path: Path, tools: Tools) -> None:
    write_scratched_scan(tmp_path / "scan.tif", 230)

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS)

    assert [(defect.kind, defect.method) for defect in receipt.defects] == [("scratch", "telea")]
    assert receipt.defects[0].length_um > 0.95 * 600 * 6.35
    assert 0.5 <= receipt.defects[0].score <= 1
    assert receipt.coverage < 12 / 800
    assert depth_of_scratch(tmp_path / "scan.tif", 230) > 1.3
    assert abs(depth_of_scratch(tmp_path / "image.part", 230)) < 0.3


def test_faint_lines_are_left_alone_where_the_option_says_so_or_a_mask_is_given(tmp_path: Path, tools: Tools) -> None:
    write_scratched_scan(tmp_path / "scan.tif", 230)
    Image.fromarray(np.zeros((600, 800), np.uint8)).save(tmp_path / "empty.png")
    without = replace(OPTIONS, mask=replace(OPTIONS.mask, faint_lines=False))

    switched_off = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, without)
    by_hand = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS, given_mask=tmp_path / "empty.png")

    assert switched_off.defects == ()
    assert by_hand.defects == ()


def test_the_receipt_tells_what_really_ran(tmp_path: Path, tools: Tools, bright_spot_models: Path) -> None:
    write_scan(tmp_path / "scan.tif", specks=5)

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS, source_name="roll 7/scan.tif")
    record = json.loads(json.dumps(receipt.to_dict()))

    assert record["schema"] == "spotless-receipt/1"
    assert record["input"]["name"] == "roll 7/scan.tif"
    assert (record["input"]["width"], record["input"]["height"], record["input"]["bits"]) == (400, 300, 16)
    assert record["input"]["dpi"] == pytest.approx(4000)
    assert record["device"] == "cpu"
    assert record["models"][0]["sha256"] in (bright_spot_models / "manifest.toml").read_text()
    assert {"decode", "detect", "inpaint", "encode", "verify", "total"} == set(record["seconds"])
    assert 1 <= len(record["defects"]) <= 5
    assert all(defect["method"] == "telea" and 0 < defect["score"] <= 1 for defect in record["defects"])
    assert record["options"]["inpaint_method"] == "telea"
    assert set(record["outputs"]) == {"image", "mask", "preview"}


def test_the_same_scan_gives_the_same_bytes_again(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")

    first = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS)
    second = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS)

    assert first.outputs == second.outputs


def test_an_empty_mask_gives_a_byte_identical_file(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")
    Image.fromarray(np.zeros((300, 400), np.uint8)).save(tmp_path / "empty.png")

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS, given_mask=tmp_path / "empty.png")

    assert receipt.defects == ()
    assert (tmp_path / "image.part").read_bytes() == (tmp_path / "scan.tif").read_bytes()


def test_a_frame_over_the_coverage_budget_is_held_with_its_mask_and_no_image(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif", specks=40)
    tight = replace(OPTIONS, mask=MaskOptions(max_coverage=0.001))

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, tight)

    assert receipt.outcome == "held"
    assert not (tmp_path / "image.part").exists()
    assert set(receipt.outputs) == {"mask", "preview"}
    assert "held" in receipt.notes[-1]


def write_blot_scan(path: Path, radius: int) -> None:
    """A grainy 300×400 scan of 4000 dpi with one bright blot in its middle."""
    grey = draw_picture(300, 400)
    cv2.circle(grey, (200, 150), radius, 0.97, -1)
    samples = np.rint(np.clip(grey, 0, 1) * 65535).astype(np.uint16)
    tifffile.imwrite(path, samples, photometric="minisblack", resolution=(4000, 4000), resolutionunit="INCH")


def test_a_frame_with_a_hole_too_wide_to_fill_unattended_is_held_and_says_where(tmp_path: Path, tools: Tools) -> None:
    write_blot_scan(tmp_path / "scan.tif", 30)
    narrow = replace(OPTIONS, inpaint=replace(TELEA, max_hole_um=300.0))

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, narrow)

    assert receipt.outcome == "held"
    assert not (tmp_path / "image.part").exists()
    assert set(receipt.outputs) == {"mask", "preview"}
    assert receipt.notes[-1].startswith("held: the hole at row 150, column 200 is ")
    assert [defect.method for defect in receipt.defects] == [""]
    assert restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS).outcome == "done"


def test_a_frame_whose_repair_takes_too_long_is_held_and_says_so(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif", specks=8)
    hurried = replace(OPTIONS, inpaint=replace(TELEA, max_seconds=1e-9))

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, hurried)

    assert receipt.outcome == "held"
    assert not (tmp_path / "image.part").exists()
    assert "inpaint.max_seconds" in receipt.notes[-1]
    assert {defect.method for defect in receipt.defects} == {""}


def test_a_mask_that_a_person_gave_is_repaired_whatever_the_budgets(tmp_path: Path, tools: Tools) -> None:
    write_blot_scan(tmp_path / "scan.tif", 30)
    given = np.zeros((300, 400), np.uint8)
    cv2.circle(given, (200, 150), 34, 255, -1)
    Image.fromarray(given).save(tmp_path / "given.png")
    tight = replace(
        OPTIONS, mask=MaskOptions(max_coverage=0.001), inpaint=replace(TELEA, max_hole_um=100.0, max_seconds=1e-9)
    )

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, tight, given_mask=tmp_path / "given.png")

    assert receipt.outcome == "done"
    assert [defect.method for defect in receipt.defects] == ["telea"]
    assert tifffile.imread(tmp_path / "image.part")[given > 0].mean() < 0.7 * 65535


def test_a_given_mask_over_everything_is_refused(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")
    Image.fromarray(np.full((300, 400), 255, np.uint8)).save(tmp_path / "given.png")

    with pytest.raises(ScanError, match="covers every pixel"):
        restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS, given_mask=tmp_path / "given.png")


@pytest.fixture(scope="module")
def tiered_tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    folder = make_bright_spot_models(tmp_path_factory.mktemp("with_lama"))
    add_untrained_lama(folder)
    return load_tools(CPU, InpaintOptions(), folder)


def test_in_tiers_each_defect_is_named_after_what_filled_it(tmp_path: Path, tiered_tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")
    given = np.zeros((300, 400), np.uint8)
    given[100:104, 50:54] = given[200:230, 300:320] = 255
    Image.fromarray(given).save(tmp_path / "given.png")

    first, second = (
        restore_photo(
            tmp_path / "scan.tif", outputs(tmp_path), tiered_tools, OPTIONS, given_mask=tmp_path / "given.png"
        )
        for _ in range(2)
    )

    assert [defect.method for defect in first.defects] == ["ns", "lama"]
    assert first.options["inpaint_method"] == "tiered"
    assert [facts.name for facts in first.models] == ["detector.safetensors", "lama.safetensors"]
    assert first.outputs == second.outputs


def test_where_the_network_fails_the_receipt_says_what_filled_instead(
    tmp_path: Path, tiered_tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: LamaFill, _crops: object) -> list[object]:
        raise ModelError("lama returned values that are not finite")

    write_scan(tmp_path / "scan.tif", specks=5)
    monkeypatch.setattr(LamaFill, "fill", broken)

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tiered_tools, OPTIONS)

    assert {defect.method for defect in receipt.defects} == {"ns"}
    assert receipt.notes[-1].endswith("regions were filled by ns: lama returned values that are not finite")


def test_mask_in_is_mask_out(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif", specks=8)
    given = np.zeros((300, 400), np.uint8)
    given[100:110, 50:70] = 255
    Image.fromarray(given).save(tmp_path / "given.png")

    receipt = restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS, given_mask=tmp_path / "given.png")

    with Image.open(tmp_path / "mask.part") as picture:
        assert (np.asarray(picture) == given).all()
    before, after = tifffile.imread(tmp_path / "scan.tif"), tifffile.imread(tmp_path / "image.part")
    assert (before[given == 0] == after[given == 0]).all()
    assert [defect.kind for defect in receipt.defects] == ["given"]


def test_a_mask_of_another_size_is_refused(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "given.png")

    with pytest.raises(ScanError, match="the scan has 400×300"):
        restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS, given_mask=tmp_path / "given.png")


def test_steps_are_told_in_order(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")
    steps: list[str] = []

    restore_photo(
        tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS, on_step=lambda step, _fraction: steps.append(step)
    )

    assert list(dict.fromkeys(steps)) == ["decode", "detect", "inpaint", "encode", "verify"]


def test_how_far_writing_the_result_is_gets_told_after_the_preview(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")
    told: list[float] = []

    restore_photo(
        tmp_path / "scan.tif",
        outputs(tmp_path),
        tools,
        OPTIONS,
        on_step=lambda step, fraction: told.append(fraction) if step == "encode" else None,
    )

    assert told == sorted(told)
    assert [fraction for fraction in told if 0.5 < fraction < 1], "between the preview and the end"
    assert told[-1] == 1


def test_detect_gives_the_mask_that_restore_would_use(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")

    _, found = detect_photo(tmp_path / "scan.tif", tools, OPTIONS, probability_path=tmp_path / "p.tif")
    restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS)

    with Image.open(tmp_path / "mask.part") as picture:
        assert (found.mask == (np.asarray(picture) == 255)).all()
    probability = tifffile.imread(tmp_path / "p.tif")
    assert (probability.shape, probability.dtype) == ((300, 400), np.float32)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_png_and_jpeg_scans_are_repaired_too(tmp_path: Path, tools: Tools, suffix: str) -> None:
    drawn = write_scan(tmp_path / "scan.tif", bits=8)
    samples = tifffile.imread(tmp_path / "scan.tif")
    Image.fromarray(samples).save(tmp_path / f"scan.{suffix}", quality=95, subsampling=0, dpi=(4000, 4000))

    receipt = restore_photo(tmp_path / f"scan.{suffix}", outputs(tmp_path), tools, OPTIONS)

    with Image.open(tmp_path / "image.part") as picture:
        after = np.asarray(picture)
    assert after[drawn].mean() < 0.7 * 255
    assert receipt.preservation == ("exact" if suffix == "png" else "block")


def test_no_manifest_entry_for_the_detector_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.toml").write_text("[model]\n")

    with pytest.raises(ModelError, match="no detector"):
        load_tools(CPU, TELEA, tmp_path)


def test_memory_is_reported_in_megabytes() -> None:
    assert 50 < pipeline.peak_memory_mb() < 20_000
