"""Both ways to draw training crops are the same way: one plan, no noise, compared with numpy and OpenCV."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawing import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from spotless_core.errors import OptionsError
from spotless_core.training import dataset, film, film_torch
from spotless_core.training.film import GrainBank
from spotless_core.training.film_plan import (
    CURVED,
    LOG_CODED,
    NEGATIVE,
    FilmChoices,
    FilmPlan,
    FilmPlans,
    ScanChoices,
    draw_plan,
    draw_scan,
)
from spotless_core.training.film_torch import DeviceFilmBatches, develop
from spotless_core.training.run_config import DetectorRun
from spotless_core.training.synthetic_dust import Sprite

SIDE, CROPS = 128, 60
DISC = np.clip(10 - np.hypot(*np.mgrid[-12:13, -12:13]), 0, 4).astype(np.float32) / 4
RUN = DetectorRun(Path(), Path(), Path(), batch=4, side=64)


class QuietGenerator(np.random.Generator):
    """numpy's generator, but white noise is zero and uses up nothing: what is left are the choices."""

    def standard_normal(self, size: tuple[int, int], dtype: type) -> NDArray[np.float32]:  # type: ignore[override]
        return np.zeros(size, dtype)


def quiet(seed: int) -> QuietGenerator:
    return QuietGenerator(np.random.PCG64(seed))


def without_noise(plan: FilmPlan) -> FilmPlan:
    scan = plan.scan.clone()
    scan[ScanChoices._fields.index("noise")] = 0
    return replace(plan, scan=scan)


def left_as_it_is(plan: FilmPlan) -> FilmPlan:
    """The same film, scanned perfectly."""
    return replace(plan, scan=torch.zeros_like(plan.scan))


def stacked(grains: GrainBank) -> Tensor:
    return torch.from_numpy(np.stack(grains.fields))


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return [np.rint(np.clip(draw_picture(500, 600, seed), 0, 1) * 255).astype(np.uint8) for seed in (1, 2)]


@pytest.fixture(scope="module")
def bank() -> dataset.SpriteBank:
    return dataset.make_sprite_bank(np.random.default_rng(0), {}, 200)


@pytest.fixture(scope="module")
def grains() -> GrainBank:
    return GrainBank(np.random.default_rng(0))


def test_from_the_same_choices_both_ways_draw_the_same_crops(
    photos: list[np.ndarray], bank: dataset.SpriteBank, grains: GrainBank
) -> None:
    rng = quiet(7)
    expected = [dataset.draw_crop(rng, photos, bank, grains, SIDE) for _ in range(CROPS)]

    plan = draw_plan(quiet(7), photos, bank, grains, SIDE, CROPS)
    grey, truth = develop(without_noise(plan), stacked(grains))

    scan = ScanChoices(*plan.scan)
    assert all(bool(step.any()) for step in scan)  # every step of the scanner is among these crops
    assert set(scan.coding.tolist()) == {0, CURVED, LOG_CODED, NEGATIVE}
    rounded = (scan.quality + scan.eight_bit).numpy() > 0
    difference = np.abs(grey[:, 0].numpy() - np.stack([crop.grey for crop in expected]))
    assert difference[~rounded].max() < 3e-4
    assert difference[rounded].mean(axis=(1, 2)).max() < 2e-3  # a level here and there falls to the other side
    assert (truth[:, 0].numpy() == np.stack([crop.truth for crop in expected])).all()
    assert {0, 1, dataset.IGNORED} == set(np.unique(truth.numpy()))


def test_a_batch_keeps_the_contract_of_crops(
    photos: list[np.ndarray], bank: dataset.SpriteBank, grains: GrainBank
) -> None:
    plan = draw_plan(np.random.default_rng(1), photos, bank, grains, SIDE, 40)

    grey, truth = develop(plan, stacked(grains))

    assert grey.shape == truth.shape == (40, 1, SIDE, SIDE)
    assert (grey.dtype, truth.dtype) == (torch.float32, torch.uint8)
    assert float(grey.min()) >= 0
    assert float(grey.max()) <= 1
    shares = (truth == 1).float().mean(dim=(1, 2, 3))
    assert float(shares.min()) == 0
    assert 0.003 < float(shares.mean()) < 0.1
    assert not grey.is_inference()  # a network can learn from it


def test_the_noise_is_as_strong_as_planned_and_comes_from_the_plans_seed(
    photos: list[np.ndarray], bank: dataset.SpriteBank, grains: GrainBank
) -> None:
    fields = stacked(grains)
    plan = draw_plan(np.random.default_rng(2), photos, bank, grains, SIDE, 8)
    silent = left_as_it_is(plan)
    scan = silent.scan.clone()
    scan[ScanChoices._fields.index("noise")] = 0.004
    noisy = replace(silent, scan=scan)

    clean, _ = develop(silent, fields)
    first, _ = develop(noisy, fields)
    other, _ = develop(replace(noisy, noise_seed=noisy.noise_seed + 1), fields)

    away_from_black_and_white = (clean > 0.05) & (clean < 0.95)
    noise = (first - clean)[away_from_black_and_white]
    assert float(noise.std()) == pytest.approx(0.004, rel=0.03)
    assert abs(float(noise.mean())) < 1e-4
    assert torch.equal(first, develop(noisy, fields)[0])
    assert not torch.equal(first, other)


def test_the_order_of_crops_and_pixels_changes_no_bit_of_the_sums() -> None:
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.normal(0, 1, 50_000).astype(np.float32))
    places = torch.from_numpy(rng.integers(0, 20, 50_000))
    shuffled = torch.from_numpy(rng.permutation(50_000))

    def sums(order: Tensor) -> Tensor:
        total = torch.zeros(20, dtype=torch.int64)
        return total.index_add_(0, places[order], film_torch.in_units(values[order]))

    assert torch.equal(sums(torch.arange(50_000)), sums(shuffled))
    expected = np.bincount(places.numpy(), values.numpy().astype(np.float64))
    assert np.abs(sums(shuffled).numpy() / film_torch.UNITS - expected).max() < 1e-5


def plan_of(sprites: list[Sprite], positions: NDArray[np.int64], side: int, rng: np.random.Generator) -> FilmPlan:
    """A plan of one crop of mid grey on slide film without grain, with `sprites` on it."""
    places, alphas, densities = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)], []
    for sprite, (row, column) in zip(sprites, positions, strict=True):
        box, alpha = dataset.clipped(sprite.alpha, int(row), int(column), side, side)
        rows, columns = np.nonzero(alpha)
        places.append(((box[0] + rows) * side + box[1] + columns).astype(np.int32))
        alphas.append(alpha[rows, columns])
        densities.append(dataset.draw_density(rng, sprite.kind, film.SLIDE))
    choices = FilmChoices(side, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
    return FilmPlan(
        windows=torch.full((1, side, side), 128, dtype=torch.uint8),
        film=torch.tensor(choices, dtype=torch.float32)[:, None],
        scan=torch.zeros(len(ScanChoices._fields), 1),
        areas=torch.tensor([len(alpha) for alpha in alphas[1:]], dtype=torch.int64),
        densities=torch.tensor(densities, dtype=torch.float32),
        places=torch.from_numpy(np.concatenate(places)),
        alphas=torch.from_numpy(np.concatenate(alphas)),
        side=side,
        noise_seed=0,
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "positions",
    [
        [[30, 30], [30, 90], [90, 30], [90, 90]],  # apart
        [[60, 60], [64, 62], [56, 66], [70, 58]],  # on top of each other
        [[0, 0], [0, 127], [127, 60], [64, 1]],  # over the edges
        [],
    ],
)
def test_elements_fall_and_are_marked_as_in_drop_elements(seed: int, positions: list[list[int]]) -> None:
    kinds = ["dust", "scratch", "transport_line", "drying_mark"]
    sprites = [Sprite(kind, DISC) for kind in kinds[: len(positions)]]
    places = np.array(positions, np.int64).reshape(-1, 2)
    grey = np.full((SIDE, SIDE), 128 / 255, np.float32)
    expected, expected_truth, _ = dataset.drop_elements(np.random.default_rng(seed), grey, film.SLIDE, sprites, places)

    plan = plan_of(sprites, places, SIDE, np.random.default_rng(seed))
    dusty, truth = develop(plan, torch.zeros(1, film.GRAIN_FIELD_PX, film.GRAIN_FIELD_PX))

    assert np.abs(dusty[0, 0].numpy() - expected).max() < 1e-5
    assert (truth[0, 0].numpy() == expected_truth).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 0.3), st.floats(0.0001, 0.1), st.integers(0, 3000))
def test_the_visibility_rule_is_the_same_rule(change: float, sigma: float, area_px: int) -> None:
    change, sigma = float(np.float32(change)), float(np.float32(sigma))

    seen = film_torch.visibility(*(torch.tensor([float(value)]) for value in (change, sigma, area_px)))

    words = {"hidden": 0, "unsure": 1, "visible": 2}
    near = {words[dataset.visibility(change * factor, sigma, area_px)] for factor in (0.999999, 1, 1.000001)}
    assert int(seen[0]) in (near if area_px else {0})


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 7), st.integers(64, 130))
def test_softening_is_opencvs_gaussian(sigma_px: float, side: int) -> None:
    grey = draw_picture(side, side, grain=0.2)
    expected = cv2.GaussianBlur(grey, (0, 0), sigma_px) if sigma_px > 0.2 else grey

    matrix = film_torch.gaussian_matrix(torch.tensor([sigma_px]), side)

    assert np.abs(film_torch.along_axes(matrix, torch.from_numpy(grey)[None])[0].numpy() - expected).max() < 1e-5


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 220), st.integers(64, 130))
def test_enlarging_is_opencvs_cubic_and_shrinking_its_area_mean(source: int, side: int) -> None:
    grey = draw_picture(source, source, grain=0.2)
    method = cv2.INTER_AREA if source > side else cv2.INTER_CUBIC
    expected = cv2.resize(grey, (side, side), interpolation=method)

    ratio, columns = torch.tensor([source / side]), source + 5
    padded = torch.zeros(1, columns, columns)
    padded[0, :source, :source] = torch.from_numpy(grey)
    cubic = film_torch.cubic_matrix(torch.tensor([float(source)]), ratio, side, columns)
    matrix = film_torch.area_matrix(ratio, side, columns) if source > side else cubic

    assert np.abs(film_torch.along_axes(matrix, padded)[0].numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("quality", [70, 83, 96])
def test_jpeg_in_torch_is_libjpegs(quality: int) -> None:
    levels = np.rint(np.clip(draw_picture(SIDE, SIDE, grain=0.06), 0, 1) * 255).astype(np.uint8)
    grey = torch.from_numpy(levels.astype(np.float32) / 255)[None]

    decoded = film_torch.jpeg(grey, torch.tensor([float(quality)]))[0].numpy() * 255

    def away_from(other_quality: int) -> NDArray[np.float32]:
        coded = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, other_quality])[1]
        return np.abs(decoded - cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))

    blocks = away_from(quality).reshape(SIDE // 8, 8, SIDE // 8, 8).max(axis=(1, 3))
    assert (blocks <= 1).mean() > 0.75  # libjpeg's integer transform tips a coefficient in the others
    assert away_from(quality).mean() < 0.35
    assert away_from(quality).mean() < 0.5 * min(away_from(quality - 3).mean(), away_from(quality + 3).mean())


def test_local_sigma_is_the_same_measure() -> None:
    grey = draw_picture(SIDE, SIDE)

    sigma = film_torch.local_sigma(torch.from_numpy(grey)[None])[0].numpy()

    assert np.abs(sigma - dataset.local_sigma(grey)).max() < 1e-5


def test_the_scanners_choices_stay_in_step_with_film_py() -> None:
    grey = draw_picture(64, 64)
    for seed in range(300):
        theirs, ours = quiet(seed), quiet(seed)

        film.digitise(theirs, film.recode(theirs, grey))
        draw_scan(ours)

        assert theirs.random() == ours.random()


def test_no_step_waits_for_the_device_or_computes_on_another(
    photos: list[np.ndarray], bank: dataset.SpriteBank, grains: GrainBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoGenerator:
        """The meta device has tensors without pixels, and no generator; reading a value from one raises."""

        def __init__(self, device: torch.device) -> None:
            assert device.type == "meta"

        def manual_seed(self, _: int) -> None:
            return None

    monkeypatch.setattr(torch, "Generator", NoGenerator)
    plan = draw_plan(np.random.default_rng(3), photos, bank, grains, SIDE, 40)

    grey, truth = develop(plan, stacked(grains).to("meta"))

    assert (grey.device.type, truth.device.type) == ("meta", "meta")
    assert grey.shape == truth.shape == (40, 1, SIDE, SIDE)


def test_batches_are_a_pure_function_of_seed_and_step_however_many_processes_draw_ahead(
    photos: list[np.ndarray],
) -> None:
    batches = DeviceFilmBatches(photos, {}, RUN, 5, RUN.batch, "cpu")
    other = DeviceFilmBatches(photos, {}, RUN, 6, RUN.batch, "cpu")

    ahead = list(batches.ahead(3, 6, loaders=2))

    assert len(ahead) == 3
    for step, (grey, truth) in enumerate(ahead, start=3):
        assert torch.equal(grey, batches[step][0])
        assert torch.equal(truth, batches[step][1])
    assert not torch.equal(ahead[0][0], ahead[1][0])
    assert not torch.equal(ahead[0][0], other[3][0])


@pytest.mark.parametrize("side", [100, 776, 24])
def test_a_side_that_cannot_be_drawn_is_refused_before_the_run(grains: GrainBank, side: int) -> None:
    with pytest.raises(OptionsError, match="multiple of 8"):
        FilmPlans([], {}, grains, replace(RUN, side=side), 1, 4)
