"""Which method fills the holes: what was asked for, or the best that is here.

In: the options and the device. Out: the method, loaded, and notes for the receipt that say what was chosen and why.
Nothing is replaced silently: a method asked for by name is the one that runs, or an error.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from spotless_core.errors import ModelError
from spotless_core.inpainting.cv2_fill import Cv2Fill
from spotless_core.inpainting.inpainter import Inpainter
from spotless_core.inpainting.lama_cleaner_fill import LamaCleanerFill, find_big_lama
from spotless_core.inpainting.tiers import TieredFill
from spotless_core.options import InpaintMethod, InpaintOptions

if TYPE_CHECKING:
    from spotless_core.networks.weights import ModelEntry

LAMA = "lama"
"""Our own network's name in the manifest."""


def choose_inpainter(
    options: InpaintOptions, device: str, entries: "Mapping[str, ModelEntry]" = MappingProxyType({})
) -> tuple[Inpainter, tuple[str, ...]]:
    """Return the method to use, ready on `device` ("cpu", "cuda", "mps"), and notes for the receipt.

    `entries`: the model manifest; LAMA needs its entry "lama" and takes it for every region. AUTO tiers it with "ns",
    the best of the classical methods (tiers.py). Without the entry AUTO takes lama-cleaner if big-lama's weights are
    where `options` says, or in lama-cleaner's cache if it says nothing; else "ns".

    Raises:
        ModelError: the weights of the method asked for are missing or damaged.
    """
    match options.method:
        case InpaintMethod.TELEA:
            return Cv2Fill("telea"), ()
        case InpaintMethod.NS:
            return Cv2Fill("ns"), ()
        case InpaintMethod.LAMA:
            if LAMA not in entries:
                raise ModelError("No LaMa weights ship with this version; choose auto, telea, ns or lama-cleaner.")
            from spotless_core.inpainting.lama_fill import LamaFill

            return LamaFill(entries[LAMA], device), ()
        case InpaintMethod.LAMA_CLEANER:
            return _lama_cleaner(options, device)
        case InpaintMethod.AUTO:
            if LAMA in entries:
                from spotless_core.inpainting.lama_fill import LamaFill

                return TieredFill(LamaFill(entries[LAMA], device), Cv2Fill("ns")), ()
            weights = find_big_lama(options.big_lama_path)
            if weights.is_file():
                return _lama_cleaner(options, device)
            return Cv2Fill("ns"), (f"inpaint auto: ns, because no LaMa ships and big-lama is not at {weights}.",)
        case _:
            assert_never(options.method)


def _lama_cleaner(options: InpaintOptions, device: str) -> tuple[Inpainter, tuple[str, ...]]:
    fill = LamaCleanerFill(options.big_lama_path, device)
    notes: list[str] = []
    if options.method is InpaintMethod.AUTO:
        notes.append("inpaint auto: lama-cleaner, because no LaMa ships and big-lama's weights are here.")
    if fill.device != device:
        notes.append(f"lama-cleaner runs big-lama on {fill.device}, not on {device}.")
    if not fill.is_published:
        notes.append(f"{fill.weights_path.name} is not the published big-lama file (other checksum).")
    return fill, tuple(notes)
