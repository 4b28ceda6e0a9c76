"""The evaluation of repairs as a whole: its report, its targets, its cases and sheets."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from drawing import draw_picture, make_bright_spot_models
from drawing_lama import add_untrained_lama
from drawing_repairs import discs_frame, lattice, soft_picture
from PIL import Image

from spotless_core.errors import OptionsError
from spotless_core.networks.weights import read_manifest
from spotless_core.training import film, repair_evaluation, repair_frames
from spotless_core.training.blind_judges import FeatureJudge
from spotless_core.training.blind_test import BlindResult, Share, blind_accuracy
from spotless_core.training.repair_baselines import known_methods
from spotless_core.training.repair_cases import CASES_PER_FRAME, CROP_PX, RANDOM, RANDOM_CASES, RepairCase
from spotless_core.training.repair_evaluation import Tally, evaluate_inpainter
from spotless_core.training.repair_page import write_repair_page
from spotless_core.training.repair_report import MethodReport, RepairReport, grain_cost_db, grain_costs, targets_of
from spotless_core.training.repair_sheet import draw_repairs
from spotless_core.training.run_config import InpainterRun

METHODS = ("nothing", "cv2fill", "cv2fill-grain", "picture")


@pytest.fixture(autouse=True)
def _few_small_fields_of_grain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "GRAIN_FIELD_PX", 256)
    monkeypatch.setattr(film, "GRAIN_FIELDS", 3)


@pytest.fixture
def run(tmp_path: Path) -> InpainterRun:
    (tmp_path / "val").mkdir()
    for seed in (1, 2):
        grey = draw_picture(140, 150, seed, grain=0)
        pixels = np.rint(np.clip(grey[..., None] * (1.0, 0.9, 0.8), 0, 1) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / f"{seed}.png")
    return InpainterRun(tmp_path / "train", tmp_path / "val", tmp_path / "run")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return make_bright_spot_models(tmp_path / "models")


def _tally(*names: str, frames: int = 1) -> Tally:
    methods, _ = known_methods({}, "cpu", ["telea", *names])
    tally = Tally(methods)
    kinds = ("dust", "short_hair")
    for photo in range(frames):
        tally.add(discs_frame(soft_picture(), lattice(), kinds=kinds, photo=photo))
    return tally


def test_an_evaluation_writes_its_figures_its_page_and_its_sheets(
    run: InpainterRun, models: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / "worst_of_last_time.png").write_bytes(b"old")

    path = evaluate_inpainter(run, report, models, photos=1, methods=METHODS)

    written = json.loads(path.read_text(encoding="utf-8"))
    assert path == report / "report.json"
    assert (written["photos"], written["frames"], written["weights"]) == (1, 6, None)
    assert list(written["methods"]) == ["nothing", "telea", "cv2fill", "cv2fill-grain", "picture"]
    methods = written["methods"]
    assert methods["telea"]["all"]["gain_db"] == 0
    assert methods["nothing"]["all"]["gain_db"] < -3
    assert methods["picture"]["all"]["gain_db"] > 0.5
    for method in methods.values():
        assert method["all"]["defects"] == written["defects"] > 5
        assert method["changed_outside_mask_px"] == 0
        assert set(method["by"]["film"]) == {"color_negative", "slide", "black_and_white"}
        for groups in method["by"].values():
            assert sum(group["defects"] for group in groups.values()) == written["defects"]
    assert list(written["targets"]) == ["cv2fill-grain"]
    page = (report / "report.html").read_text(encoding="utf-8")
    pictures = {each.stem for each in report.glob("*.png")}
    assert {"random", "worst_dust"} <= pictures
    assert "worst_of_last_time" not in pictures
    assert all(f"<img src={name}.png" in page for name in pictures)


def test_without_lama_in_the_manifest_the_others_run_and_the_report_says_so(
    run: InpainterRun, models: Path, tmp_path: Path
) -> None:
    path = evaluate_inpainter(run, tmp_path / "report", models, photos=1, methods=["lama-grain"])

    written = json.loads(path.read_text(encoding="utf-8"))
    assert list(written["methods"]) == ["telea"]
    assert written["missing"] == {"lama-grain": 'no entry "lama" in the manifest'}
    assert "no entry &quot;lama&quot;" in (path.parent / "report.html").read_text(encoding="utf-8")


def test_the_network_of_the_models_folder_is_measured_as_it_ships(
    run: InpainterRun, models: Path, tmp_path: Path
) -> None:
    add_untrained_lama(models)

    path = evaluate_inpainter(run, tmp_path / "report", models, photos=1, methods=["lama", "tiered-grain"])

    written = json.loads(path.read_text(encoding="utf-8"))
    assert list(written["methods"]) == ["telea", "lama", "tiered-grain"]
    assert written["weights"] == read_manifest(models)["lama"].sha256
    assert list(written["targets"]) == ["tiered-grain"]
    assert written["missing"] == {}
    assert abs(written["methods"]["lama"]["all"]["gain_db"]) < 3  # untrained: the cheap fill and a little more


def test_a_machine_looks_for_the_repairs_of_the_methods_named(
    run: InpainterRun, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = np.rint(np.clip(draw_picture(140, 150, 3, grain=0)[..., None] * (1.0, 0.9, 0.8), 0, 1) * 255)
    Image.fromarray(third.astype(np.uint8)).save(run.validation_photos / "3.png")
    monkeypatch.setattr(repair_evaluation, "blind_accuracy", partial(blind_accuracy, judges=(FeatureJudge(),)))

    path = evaluate_inpainter(run, tmp_path / "report", models, methods=["cv2fill-grain"], blind=["telea"])

    written = json.loads(path.read_text(encoding="utf-8"))
    told = written["blind"]["telea"]["told"]
    assert list(written["blind"]) == ["telea"]
    assert 0.6 < told["accuracy"] <= 1
    assert "Patches a machine tells right" in (path.parent / "report.html").read_text(encoding="utf-8")


def test_what_a_machine_looks_for_must_run_and_on_enough_photographs(
    run: InpainterRun, models: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionsError, match="biharmonic does not run"):
        evaluate_inpainter(run, tmp_path / "report", models, methods=["ns"], blind=["biharmonic"])
    with pytest.raises(OptionsError, match="2 photographs; at least 3"):
        evaluate_inpainter(run, tmp_path / "report", models, methods=["ns"], blind=["ns"])


def test_a_machines_share_is_held_against_its_target() -> None:
    reports = _tally("cv2fill-grain").reports()
    result = BlindResult(Share(0.66, 0.6, 0.7, 100), 0.7, {}, {}, {}, {}, [], 0)

    (target,) = [
        each
        for each in targets_of("cv2fill-grain", reports, {"cv2fill-grain": result})
        if "machine" in each.what and "told" in each.what
    ]

    assert (target.value, target.is_met) == (0.66, False)


def test_frames_on_which_no_dust_fell_are_refused(
    run: InpainterRun, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair_frames, "ELEMENTS_PER_MM2", 0.0)

    with pytest.raises(OptionsError, match="no visible dust"):
        evaluate_inpainter(run, tmp_path / "report", models, methods=["nothing"])


def test_an_unknown_method_ends_the_evaluation_before_it_begins(
    run: InpainterRun, tmp_path: Path, models: Path
) -> None:
    with pytest.raises(OptionsError, match="magic"):
        evaluate_inpainter(run, tmp_path / "report", models, methods=["magic"])
    assert not (tmp_path / "report").exists()


def test_structure_is_held_against_its_targets_without_grain_and_grain_with_it() -> None:
    reports = _tally("cv2fill", "cv2fill-grain", "biharmonic").reports()
    fill, repair = reports["cv2fill"], reports["cv2fill-grain"]
    good = replace(fill, all=replace(fill.all, gain_db=3.5, structure_psnr=90.0))
    good.by["surroundings"]["edge"] = replace(fill.all, gain_db=4.4)
    grainy = replace(repair, seconds_per_1000_defects=8.1)
    grain = replace(repair.all.grain, worst_ratio=1.15, worst_distance_db=2.0)
    grainy.by["film"]["slide"] = replace(repair.all, grain=grain)

    targets = targets_of("cv2fill-grain", {**reports, "cv2fill": good, "cv2fill-grain": grainy}, {})

    title = fill.title
    assert {target.what: (target.value, target.is_met) for target in targets} == {
        f"{title}: structure over Telea, all defects, dB": (3.5, True),
        f"{title}: structure over Telea, edge-crossing, dB": (4.4, False),
        f"{title}: structure over biharmonic (scikit-image), dB": (
            pytest.approx(90 - reports["biharmonic"].all.structure_psnr),
            True,
        ),
        f"{title}: structure over fsr, dB": (None, None),
        "grain ratio, worst channel, slide": (1.15, True),
        "log-spectral distance, worst channel, slide, dB": (2.0, False),
        "repairs told from untouched film by a machine": (None, None),
        "seconds per 1000 defects, this machine": (8.1, False),
    }


def test_without_edges_or_calm_film_a_target_is_neither_met_nor_missed() -> None:
    reports = _tally("cv2fill-grain").reports()
    ours = reports["cv2fill-grain"]
    nothing = replace(ours.all.grain, worst_ratio=None, worst_distance_db=None)
    ours.by["film"]["slide"] = replace(ours.all, grain=nothing)
    too_few = replace(ours.all.grain, defects=9, windows=9, worst_ratio=1.0, worst_distance_db=0.5)
    ours.by["film"]["black_and_white"] = replace(ours.all, grain=too_few)

    met = {target.what: target.is_met for target in targets_of("cv2fill-grain", reports, {})}

    assert met[f"{ours.title}: structure over Telea, edge-crossing, dB"] is None
    assert met["grain ratio, worst channel, slide"] is None
    assert met["log-spectral distance, worst channel, slide, dB"] is None
    assert met["grain ratio, worst channel, black and white"] is None
    assert met["log-spectral distance, worst channel, black and white, dB"] is None


def test_the_worst_cases_come_first_and_no_frame_fills_a_gallery() -> None:
    tally = _tally("cv2fill-grain", frames=3)

    galleries = tally.cases.galleries

    assert set(galleries) == {RANDOM, "worst_flat", "worst_dust", "worst_short_hair"}
    for name, cases in galleries.items():
        ranks = [case.rank for case in cases]
        assert ranks == sorted(ranks)
        assert len(cases) == min(3 * CASES_PER_FRAME, RANDOM_CASES)
        assert all(crop.shape == (CROP_PX, CROP_PX, 3) for case in cases for crop in case.crops)
        if name == "worst_dust":
            assert all(case.caption[0].startswith("dust, photo") for case in cases)
    assert [case.caption for case in galleries["worst_dust"]] != [case.caption for case in galleries[RANDOM]]


def test_a_case_shows_before_telea_ours_and_truth_of_one_place() -> None:
    frame = discs_frame(soft_picture(), [(80, 100)])
    methods, _ = known_methods({}, "cpu", ["telea", "picture", "cv2fill"])
    tally = Tally(methods)

    tally.add(frame)

    (case,) = tally.cases.galleries["worst_dust"]
    place = np.s_[40:120, 60:140]
    by_name = {method.name: method.repair(frame) for method in methods}
    shown = (frame.dusty, by_name["telea"], by_name["cv2fill"], frame.clean)
    for crop, picture in zip(case.crops, shown, strict=True):
        assert np.abs(crop.astype(np.float32) * 257 - picture[place]).max() <= 129


def test_a_sheet_shows_each_crop_at_two_hundred_percent(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    crops = tuple(random.integers(0, 256, (CROP_PX, CROP_PX, 3), dtype=np.uint8) for _ in range(4))

    draw_repairs([RepairCase(0.0, ("dust", "flat"), crops)] * 3, "ours", tmp_path / "sheet.png")

    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    for crop in crops:
        row, column = np.argwhere((sheet == crop[0, 0]).all(axis=2))[0]
        assert np.array_equal(sheet[row : row + 2 * CROP_PX : 2, column : column + 2 * CROP_PX : 2], crop)
        assert np.array_equal(sheet[row + 1 : row + 2 * CROP_PX : 2, column + 1 : column + 2 * CROP_PX : 2], crop)


def test_the_page_says_which_targets_are_met_and_leaves_unmeasured_figures_out(tmp_path: Path) -> None:
    tally = _tally("cv2fill", "cv2fill-grain")
    methods = tally.reports()
    unmeasured = replace(methods["telea"].all.grain, ratio=None, worst_ratio=None)
    methods["telea"].by["film"]["slide"] = replace(methods["telea"].all, grain=unmeasured)
    report = _report(methods)

    write_repair_page(report, [RANDOM, "worst_short_hair"], tmp_path / "report.html")

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<td>not met</td>" in page
    assert "<td>not measured, or on too little</td>" in page
    assert "<td>– (–)</td>" in page
    assert "<h2>Drawn by lot</h2><img src=random.png" in page
    assert "<h2>Worst repairs: short hair</h2>" in page
    assert "Error that putting grain back adds" in page
    assert "fsr: &lt;not&gt; here" in page
    for method in methods.values():
        assert f"<td>{method.title}</td><td>{method.all.structure_psnr:.2f}</td>" in page


def _report(methods: dict[str, MethodReport]) -> RepairReport:
    targets = {"cv2fill-grain": targets_of("cv2fill-grain", methods, {})}
    return RepairReport("ab" * 32, 1, 1, 12, methods, {"fsr": "<not> here"}, grain_costs(methods), {}, targets)


def test_grain_costs_the_picture_what_it_adds_to_the_error() -> None:
    methods = _tally("cv2fill", "cv2fill-grain", "picture", "regrained").reports()
    without, with_grain = (replace(methods["cv2fill"].all, structure_psnr=psnr) for psnr in (30.0, 27.0))

    costs = grain_costs(methods)

    assert grain_cost_db(without, with_grain) == pytest.approx(-10 * np.log10(10**-2.7 - 10**-3.0))
    assert grain_cost_db(with_grain, without) is None
    assert list(costs) == ["cv2fill-grain", "regrained"]
    assert set(costs["regrained"]) == {"all", "slide", "flat"}
    expected = grain_cost_db(methods["picture"].all, methods["regrained"].all)
    assert costs["regrained"]["all"] == costs["regrained"]["slide"] == expected
    assert expected is not None and 30 < expected < 45
