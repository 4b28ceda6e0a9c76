"""How long a person waits for a frame on the review page: the child's start, both layers fitted, then at 100 %."""

import asyncio
from pathlib import Path

import pytest
from drawing_review import draw_frame
from pytest_benchmark.fixture import BenchmarkFixture

from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.pictures import Pictures

FITTED = [("before", 2, col, row) for col in range(2) for row in range(2)]
FULL = [("before", 0, col, row) for col in range(2, 6) for row in range(2, 4)]


async def look(state: Path, files: FrameFiles) -> None:
    pictures = Pictures(state)
    try:
        await pictures.layout(files)
        for places in (FITTED, FULL):
            both = [(layer, *place) for _, *place in places for layer in ("before", "after")]
            await asyncio.gather(*(pictures.tile(files, *place) for place in both))
    finally:
        pictures.close()


@pytest.mark.parametrize("kind", ["tiff", "lzw", "png", "jpeg"])
def test_opening_a_frame_of_9_megapixels(benchmark: BenchmarkFixture, tmp_path: Path, kind: str) -> None:
    files, *_ = draw_frame(tmp_path, 2400, 3600, kind=kind, specks=100)
    states = iter(tmp_path / str(number) for number in range(10))

    benchmark.pedantic(lambda: asyncio.run(look(next(states), files)), rounds=2)
