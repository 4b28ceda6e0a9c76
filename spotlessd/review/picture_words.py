"""What is said between the daemon and the process that draws: one JSON object a line. No numpy here.

Asked: {"id": 7, "do": "tile", "files": {…}, "layer": "before", "level": 3, "col": 0, "row": 1}, or {"cancel": 7}.
Answered: {"id": 7, "begun": true}, then one of {"id": 7, "path": "…"}, {"id": 7, "layout": {…}}, or
{"id": 7, "error": "…"}.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spotlessd.review.edits import BoxEdit, Choice, Edits, Mode, Stroke
from spotlessd.review.frame_files import FrameFiles

TILE_PX = 512
BEFORE, AFTER, MASK = "before", "after", "mask"
LAYERS = (BEFORE, AFTER, MASK)
SUFFIXES = {BEFORE: ".jpg", AFTER: ".jpg", MASK: ".png"}
THUMB = "thumb.jpg"


@dataclass(frozen=True, slots=True)
class PictureLayout:
    """A frame's pyramid: size of level 0 in px, side of the tiles in px, how many levels, the layers it has."""

    width: int
    height: int
    size: int
    levels: int
    layers: tuple[str, ...]


def level_count(width: int, height: int) -> int:
    """Return how many levels a frame has: the last one fits one tile."""
    return 1 + max((-(-max(width, height) // TILE_PX) - 1).bit_length(), 0)


def tile_name(layer: str, level: int, col: int, row: int) -> str:
    """Return the name of a tile in its frame's folder."""
    return f"{layer}_{level}_{col}_{row}{SUFFIXES[layer]}"


def files_to_words(files: FrameFiles) -> dict[str, Any]:
    """Return `files` as JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(files).items()}


def files_from_words(words: Mapping[str, Any]) -> FrameFiles:
    """Return what `files_to_words` was given."""
    paths = {name: words[name] and Path(words[name]) for name in ("scan", "result", "mask", "preview", "receipt")}
    return FrameFiles(job=words["job"], key=words["key"], **paths)


def edits_to_words(edits: Edits) -> dict[str, Any]:
    """Return `edits` as JSON values."""
    return asdict(edits)


def edits_from_words(words: Mapping[str, Any]) -> Edits:
    """Return what `edits_to_words` was given; it was checked before."""
    return Edits(
        Choice(words["choice"]),
        tuple(words["take_back"]),
        tuple(
            Stroke(Mode(each["mode"]), each["radius"], tuple((x, y) for x, y in each["points"]))
            for each in words["strokes"]
        ),
        tuple(
            BoxEdit(Mode(each["mode"]), (each["box"][0], each["box"][1], each["box"][2], each["box"][3]))
            for each in words["boxes"]
        ),
        words["sensitivity"],
    )


def layout_from_words(words: Mapping[str, Any]) -> PictureLayout:
    """Return the layout that its `asdict` was made of."""
    return PictureLayout(
        words["width"], words["height"], words["size"], words["levels"], tuple(map(str, words["layers"]))
    )
