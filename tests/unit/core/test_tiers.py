"""Each region goes to the cheapest method that is as good, and the name of what really filled it is told."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from drawing import draw_picture

from spotless_core.arrays.kinds import Box, FloatImage
from spotless_core.errors import ArrayContractError, DeviceMemoryError, ModelError
from spotless_core.inpainting.inpainter import Crop, Fill
from spotless_core.inpainting.tiers import CHEAP_UP_TO_PX, TieredFill, fill_named
from spotless_core.receipt import FileFacts

SPECK: Box = (29, 29, 34, 34)
NETWORK, CHEAP = np.float32(0.25), np.float32(0.75)
NO_GRAIN = np.zeros((64, 64, 1), np.float32)


class MarkingFill:
    """Fills with one value; `fails` may raise for the crops it is given."""

    own_grain: FloatImage | None = None

    def __init__(self, name: str, value: np.float32, fails: Callable[[Sequence[Crop]], None] = lambda _: None) -> None:
        self.name = name
        self.value = value
        self.fails = fails
        self.asked: list[int] = []

    def fill(self, crops: Sequence[Crop]) -> list[Fill]:
        self.asked.append(len(crops))
        self.fails(crops)
        return [Fill(np.where(crop.mask[..., None], self.value, crop.image), self.own_grain) for crop in crops]


class SmoothFill(MarkingFill):
    own_grain = NO_GRAIN
    models = (FileFacts("lama.safetensors", "ab"),)


def _crop(box: Box = SPECK, *, edge: bool = False, seed: int = 1) -> Crop:
    grey = draw_picture(64, 64, seed)
    if edge:
        grey[:, 31:] += 0.3
    image = np.repeat(grey[..., None], 3, axis=2)
    mask = np.zeros((64, 64), np.bool_)
    mask[box[0] : box[2], box[1] : box[3]] = True
    image[mask] = 0.97
    return Crop(image, mask)


def _tiers(fails: Callable[[Sequence[Crop]], None] = lambda _: None) -> tuple[TieredFill, SmoothFill, MarkingFill]:
    network, cheap = SmoothFill("net", NETWORK, fails), MarkingFill("cheap", CHEAP)
    return TieredFill(network, cheap, {"flat": 40, "textured": 0, "edge": 0}), network, cheap


def test_a_tiny_hole_on_flat_film_is_filled_by_the_cheap_method() -> None:
    tiers, network, _ = _tiers()

    (fill,) = tiers.fill_named([_crop()], [SPECK])

    assert (fill.method, fill.fill.own_grain, fill.fault) == ("cheap", None, "")
    assert (fill.fill.image[30, 30] == CHEAP).all()
    assert network.asked == []


@pytest.mark.parametrize(
    ("crop", "box"), [(_crop(edge=True), SPECK), (_crop((20, 20, 30, 30)), (20, 20, 30, 30))], ids=["edge", "large"]
)
def test_a_hole_on_an_edge_and_a_large_one_are_filled_by_the_network(crop: Crop, box: Box) -> None:
    tiers, _, cheap = _tiers()

    (fill,) = tiers.fill_named([crop], [box])

    assert (fill.method, fill.fault) == ("net", "")
    assert fill.fill.own_grain is NO_GRAIN
    assert (fill.fill.image[crop.mask] == NETWORK).all()
    assert cheap.asked == []


def test_many_small_holes_in_one_region_count_each_for_itself() -> None:
    crop = _crop()
    crop.mask[40:45, 40:45] = True

    (fill,) = _tiers()[0].fill_named([crop], [(29, 29, 45, 45)])

    assert np.count_nonzero(crop.mask) == 50
    assert fill.method == "cheap"


def test_only_the_holes_of_the_region_decide_and_not_its_neighbours_in_the_crop() -> None:
    crop = _crop()
    crop.mask[2:14, 2:14] = True

    (fill,) = _tiers()[0].fill_named([crop], [SPECK])

    assert fill.method == "cheap"


def test_fills_come_back_in_the_order_of_the_crops_with_their_names() -> None:
    crops = [_crop(edge=True), _crop(), _crop(edge=True, seed=2), _crop(seed=3)]
    tiers, network, cheap = _tiers()

    fills = tiers.fill_named(crops, [SPECK] * 4)

    assert [fill.method for fill in fills] == ["net", "cheap", "net", "cheap"]
    assert [fill.fill.image[30, 30, 0] for fill in fills] == [NETWORK, CHEAP, NETWORK, CHEAP]
    for crop, fill in zip(crops, fills, strict=True):
        np.testing.assert_array_equal(fill.fill.image[~crop.mask], crop.image[~crop.mask])
    assert (network.asked, cheap.asked) == ([2], [2])


def test_asked_for_images_alone_it_decides_by_all_holes_of_the_crop() -> None:
    both = _crop()
    both.mask[2:14, 2:14] = True

    images = [fill.image for fill in _tiers()[0].fill([_crop(), both])]

    assert (images[0][30, 30] == CHEAP).all()
    assert (images[1][30, 30] == NETWORK).all()


def test_a_crop_without_a_hole_comes_back_as_it_is() -> None:
    crop = Crop(_crop().image, np.zeros((64, 64), np.bool_))

    (fill,) = _tiers()[0].fill([crop])

    np.testing.assert_array_equal(fill.image, crop.image)


def test_where_the_network_fails_on_one_crop_only_that_one_is_filled_cheaply_and_says_why() -> None:
    crops = [_crop(edge=True, seed=seed) for seed in range(8)]
    bad = crops[5]

    def fails(batch: Sequence[Crop]) -> None:
        if any(crop is bad for crop in batch):
            raise ModelError("values that are not finite")

    fills = _tiers(fails)[0].fill_named(crops, [SPECK] * 8)

    assert [fill.method for fill in fills] == ["net"] * 5 + ["cheap"] + ["net"] * 2
    assert [fill.fault for fill in fills] == [""] * 5 + ["values that are not finite"] + [""] * 2
    assert fills[5].fill.own_grain is None


@pytest.mark.parametrize(
    "error",
    [
        DeviceMemoryError("out of memory"),
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch_before_it_gives_up(error: Exception) -> None:
    def fails(batch: Sequence[Crop]) -> None:
        if len(batch) > 2:
            raise error

    tiers, network, cheap = _tiers(fails)

    fills = tiers.fill_named([_crop(edge=True, seed=seed) for seed in range(8)], [SPECK] * 8)

    assert [fill.method for fill in fills] == ["net"] * 8
    assert network.asked == [8, 4, 2, 2, 4, 2, 2]
    assert cheap.asked == []


def test_a_single_crop_that_does_not_fit_into_memory_is_filled_cheaply() -> None:
    def fails(_batch: Sequence[Crop]) -> None:
        raise MemoryError

    (fill,) = _tiers(fails)[0].fill_named([_crop(edge=True)], [SPECK])

    assert (fill.method, fill.fault) == ("cheap", "out of memory")


@pytest.mark.parametrize("error", [ArrayContractError("no clean pixel"), RuntimeError("shapes cannot be multiplied")])
def test_our_own_mistakes_are_not_covered_up(error: Exception) -> None:
    def fails(_batch: Sequence[Crop]) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        _tiers(fails)[0].fill_named([_crop(edge=True)], [SPECK])


def test_any_other_method_is_named_for_every_crop() -> None:
    plain = fill_named(MarkingFill("plain", CHEAP), [_crop(), _crop(edge=True)], [SPECK, SPECK])
    smooth = fill_named(SmoothFill("smooth", CHEAP), [_crop()], [SPECK])

    assert [(fill.method, fill.fill.own_grain) for fill in plain] == [("plain", None), ("plain", None)]
    assert [(fill.method, fill.fill.own_grain is NO_GRAIN) for fill in smooth] == [("smooth", True)]


def test_the_networks_weights_are_told_for_the_receipt() -> None:
    assert _tiers()[0].models == (FileFacts("lama.safetensors", "ab"),)


def test_edges_and_texture_never_go_to_the_cheap_method() -> None:
    assert CHEAP_UP_TO_PX["edge"] == CHEAP_UP_TO_PX["textured"] == 0
