"""Which method is chosen when our own LaMa ships: by AUTO in tiers, by its name for every region."""

from pathlib import Path

import numpy as np
import pytest
from drawing import draw_picture
from drawing_lama import add_untrained_lama

from spotless_core.inpainting.choice import choose_inpainter
from spotless_core.inpainting.inpainter import Crop, Inpainter
from spotless_core.inpainting.tiers import fill_named
from spotless_core.networks.weights import ModelEntry, read_manifest
from spotless_core.options import InpaintMethod, InpaintOptions


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, ModelEntry]:
    add_untrained_lama(tmp_path)
    return read_manifest(tmp_path)


def methods_of(inpainter: Inpainter) -> list[str]:
    """The names of what fills a tiny hole and a large one on flat film."""
    crops = []
    for side in (4, 20):
        mask = np.zeros((64, 64), np.bool_)
        mask[20 : 20 + side, 12 : 12 + side] = True
        crops.append(Crop(draw_picture(64, 64, grain=0.01)[..., None], mask))
    return [fill.method for fill in fill_named(inpainter, crops, [(20, 12, 24, 16), (20, 12, 40, 32)])]


def test_auto_takes_our_lama_in_tiers_even_if_big_lama_lies_there(
    entries: dict[str, ModelEntry], tmp_path: Path
) -> None:
    (tmp_path / "big-lama.pt").write_bytes(b"not looked at")

    inpainter, notes = choose_inpainter(InpaintOptions(big_lama_path=tmp_path / "big-lama.pt"), "cpu", entries)

    assert methods_of(inpainter) == ["ns", "lama"]
    assert notes == ()
    assert [facts.sha256 for facts in inpainter.models] == [entries["lama"].sha256]  # type: ignore[attr-defined]


def test_our_lama_asked_for_by_name_fills_every_region(entries: dict[str, ModelEntry]) -> None:
    inpainter, notes = choose_inpainter(InpaintOptions(method=InpaintMethod.LAMA), "cpu", entries)

    assert methods_of(inpainter) == ["lama", "lama"]
    assert notes == ()


@pytest.mark.parametrize("method", [InpaintMethod.TELEA, InpaintMethod.NS])
def test_a_classical_method_asked_for_by_name_fills_every_region(
    entries: dict[str, ModelEntry], method: InpaintMethod
) -> None:
    inpainter, _ = choose_inpainter(InpaintOptions(method=method), "cpu", entries)

    assert methods_of(inpainter) == [method.value] * 2
