"""What a person may decide about one frame, as it comes from the page: checked here, carried out by the worker.

Values only, no disk. Coordinates are pixels of the frame as stored: x to the right, y down, from the top left corner of
the top left pixel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

MAX_STROKES = 2_000
MAX_POINTS = 100_000
"""Of all strokes of one decision together."""
MAX_RADIUS_PX = 500.0
MAX_BOXES = 2_000


class Choice(StrEnum):
    """EDITED: the mask with the edits. PROPOSED: the mask as it was found. ORIGINAL: no repair at all.

    AGAIN: detect anew, with another sensitivity.
    """

    EDITED = "edited"
    PROPOSED = "proposed"
    ORIGINAL = "original"
    AGAIN = "again"


class Mode(StrEnum):
    """Whether a stroke or a box adds to the mask or takes away from it."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Stroke:
    """A brush stroke: a line of `radius` pixels through `points` (x, y), round at its ends."""

    mode: Mode
    radius: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class BoxEdit:
    """A rectangle (top, left, bottom, right), end exclusive."""

    mode: Mode
    box: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Edits:
    """One decision. `take_back`: indexes into the receipt's `defects`, whose pieces of the mask are taken away first;
    strokes and boxes follow in their order, strokes before boxes. `sensitivity`: only for AGAIN.
    """

    choice: Choice
    take_back: tuple[int, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    boxes: tuple[BoxEdit, ...] = ()
    sensitivity: str | None = None


class EditsError(ValueError):
    """The decision makes no sense; its text is one sentence for the person."""


def parse_edits(value: object, width: int, height: int, defects: int) -> Edits:
    """Read a decision from JSON values, for a frame of `width` × `height` px whose receipt lists `defects` pieces.

    Raises:
        EditsError: something is missing, of the wrong kind, outside the frame, or too much.
    """
    data = _mapping(value, "a decision")
    unknown = set(data) - {"choice", "take_back", "strokes", "boxes", "sensitivity"}
    if unknown:
        raise EditsError(f"a decision has no {', '.join(sorted(map(str, unknown)))}.")
    try:
        choice = Choice(str(data.get("choice")))
    except ValueError:
        raise EditsError(f"choice is {data.get('choice')!r}; one of {', '.join(Choice)} expected.") from None
    sensitivity = data.get("sensitivity")
    if (choice is Choice.AGAIN) != (sensitivity is not None):
        raise EditsError("a sensitivity belongs to the choice 'again', and only to it.")
    if sensitivity not in {None, "low", "normal", "high"}:
        raise EditsError(f"sensitivity is {sensitivity!r}; low, normal or high expected.")
    take_back = tuple(_index(one, defects) for one in _list(data.get("take_back", []), "take_back", defects))
    strokes = tuple(_stroke(one, width, height) for one in _list(data.get("strokes", []), "strokes", MAX_STROKES))
    if sum(len(stroke.points) for stroke in strokes) > MAX_POINTS:
        raise EditsError(f"more than {MAX_POINTS} points in strokes; apply what there is, then go on.")
    boxes = tuple(_box(one, width, height) for one in _list(data.get("boxes", []), "boxes", MAX_BOXES))
    if choice is not Choice.EDITED and (take_back or strokes or boxes):
        raise EditsError("edits of the mask belong to the choice 'edited', and only to it.")
    return Edits(choice, take_back, strokes, boxes, sensitivity)


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise EditsError(f"{what} must be a JSON object.")
    return value


def _list(value: object, name: str, most: int) -> list[Any]:
    if not isinstance(value, list):
        raise EditsError(f"{name} must be a JSON array.")
    if len(value) > most:
        raise EditsError(f"{name} has {len(value)} entries; at most {most} expected.")
    return value


def _index(value: object, defects: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < defects:
        raise EditsError(f"take_back names defect {value!r}; a number from 0 to {defects - 1} expected.")
    return value


def _number(value: object, name: str, least: float, most: float) -> float:
    # isfinite() of a whole number beyond all floats raises; the range is enough for those.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and not isfinite(value))
    ):
        raise EditsError(f"{name} is {value!r}; a number expected.")
    if not least <= value <= most:
        raise EditsError(f"{name} is {value}; between {least:g} and {most:g} expected.")
    return float(value)


def _mode(data: Mapping[str, Any]) -> Mode:
    try:
        return Mode(str(data.get("mode")))
    except ValueError:
        raise EditsError(f"mode is {data.get('mode')!r}; add or remove expected.") from None


def _stroke(value: object, width: int, height: int) -> Stroke:
    data = _mapping(value, "a stroke")
    radius = _number(data.get("radius"), "radius", 0.5, MAX_RADIUS_PX)
    points = _list(data.get("points"), "points", MAX_POINTS)
    if not points:
        raise EditsError("a stroke has no points.")
    # A brush may leave the frame a little: what lies outside is cut off.
    pairs = []
    for point in points:
        if not isinstance(point, list) or len(point) != len("xy"):
            raise EditsError("a point must be [x, y].")
        x = _number(point[0], "x", -MAX_RADIUS_PX, width + MAX_RADIUS_PX)
        y = _number(point[1], "y", -MAX_RADIUS_PX, height + MAX_RADIUS_PX)
        pairs.append((x, y))
    return Stroke(_mode(data), radius, tuple(pairs))


def _box(value: object, width: int, height: int) -> BoxEdit:
    data = _mapping(value, "a box")
    sides = _list(data.get("box"), "box", 4)
    if len(sides) != 4 or any(isinstance(side, bool) or not isinstance(side, int) for side in sides):
        raise EditsError("a box must be [top, left, bottom, right] in whole pixels.")
    top, left, bottom, right = sides
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise EditsError(f"the box {sides} does not lie in the frame of {width} × {height} px.")
    return BoxEdit(_mode(data), (top, left, bottom, right))
