"""Cover a length or a frame with overlapping tiles."""

from collections.abc import Iterator

from spotless_core.arrays.kinds import Box


def tile_starts(length: int, tile: int, stride: int) -> list[int]:
    """Starts of tiles of `tile` pixels that cover [0, length), at most `stride` apart; the last ends at `length`.

    A `length` up to `tile` needs one tile at 0.
    """
    if length <= tile:
        return [0]
    starts = list(range(0, length - tile, stride))
    return [*starts, length - tile]


def tile_boxes(height: int, width: int, tile_height: int, tile_width: int, stride: int) -> Iterator[Box]:
    """Boxes of all tiles, row by row; those at the far edges end exactly there."""
    for top in tile_starts(height, tile_height, stride):
        for left in tile_starts(width, tile_width, stride):
            yield top, left, min(top + tile_height, height), min(left + tile_width, width)
