"""The process that draws: its files, its end at any time, and what it says of bad files. Real children."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from drawing_review import draw_frame, read_tile

from spotless_core.image_io.mask_file import read_mask
from spotlessd.review.edits import BoxEdit, Choice, Edits, Mode, Stroke
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.picture_cache import frame_folder, is_sound
from spotlessd.review.pictures import PictureError, Pictures

SECONDS = 60.0


@asynccontextmanager
async def opened(state: Path, **options: Any) -> AsyncIterator[Pictures]:
    pictures = Pictures(state, **options)
    try:
        yield pictures
    finally:
        pid = pictures.pid
        pictures.close()
        await until(lambda: pid is None or not psutil.pid_exists(pid))
        await asyncio.sleep(0)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)


def run(story: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await story

    asyncio.run(bounded())


def test_a_frame_has_a_layout_a_thumbnail_and_tiles(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            layout = await pictures.layout(files)
            assert (layout.width, layout.height, layout.size, layout.levels) == (1100, 700, 512, 3)
            assert layout.layers == ("before", "after", "mask")
            thumb = await pictures.thumb(files)
            tiles = [await pictures.tile(files, layer, 2, 0, 0) for layer in layout.layers]
            assert all(is_sound(path) for path in (thumb, *tiles))
            assert {path.parent for path in tiles} == {frame_folder(tmp_path / "state", files)}

    run(story())


def test_fifty_tiles_at_once_are_all_drawn(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path, 1600, 2300, kind="lzw")
    places = [(layer, 0, col, row) for layer in ("before", "after", "mask") for row in range(4) for col in range(5)]

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            drawn = await asyncio.gather(*(pictures.tile(files, *place) for place in places + places[:10]))
            assert all(is_sound(path) for path in drawn)
            assert len(set(drawn)) == len(places)

    run(story())


def test_what_was_drawn_needs_no_child_the_next_time(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            first = await pictures.tile(files, "before", 0, 0, 0)
        async with opened(tmp_path / "state") as pictures:
            assert await pictures.tile(files, "before", 0, 0, 0) == first
            assert pictures.pid is None

    run(story())


def test_an_empty_file_in_the_cache_is_drawn_anew(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            path = await pictures.tile(files, "after", 0, 1, 0)
            expected = path.read_bytes()
            path.write_bytes(b"")
            assert (await pictures.tile(files, "after", 0, 1, 0)).read_bytes() == expected

    run(story())


def test_edits_reach_the_mask_through_the_child(tmp_path: Path) -> None:
    files, _, _, mask = draw_frame(tmp_path)
    edits = Edits(
        Choice.EDITED,
        strokes=(Stroke(Mode.ADD, 2.5, ((300.0, 20.5), (340.25, 20.5))),),
        boxes=(BoxEdit(Mode.REMOVE, (100, 0, 700, 1100)),),
    )

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            path = await pictures.draw_mask(files, edits, [])
            drawn = read_mask(path, mask.shape)
            assert drawn[20, 300:340].all()
            assert not drawn[100:].any()
            assert path.parent == tmp_path / "state" / "given_masks"

    run(story())


def test_a_child_killed_amid_a_request_costs_that_request_only(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            await pictures.layout(files)
            pid = pictures.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            asked = [asyncio.create_task(pictures.tile(files, "before", 0, col, 0)) for col in range(3)]
            await asyncio.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
            # None was begun: all are drawn by the next child.
            assert all(is_sound(path) for path in await asyncio.gather(*asked))
            assert pictures.pid != pid

    run(story())


def test_a_hanging_child_is_replaced_and_only_what_it_had_begun_fails(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)
    pipe = tmp_path / "slow.png"
    os.mkfifo(pipe)  # opening it for reading blocks for ever
    slow = FrameFiles(2, "slow", files.scan, None, None, pipe)

    async def story() -> None:
        async with opened(tmp_path / "state", limit_seconds=1.0) as pictures:
            await pictures.layout(files)
            pid = pictures.pid
            assert pid is not None
            hang = asyncio.create_task(hurt(pictures, pid, files, signal.SIGSTOP))
            with pytest.raises(PictureError, match="more than 1 s"):
                await hang
            assert is_sound(await pictures.tile(files, "before", 0, 1, 0))
            assert pictures.pid != pid
            assert is_sound(await pictures.thumb(slow))  # a preview that is no regular file is not opened

    run(story())


def test_a_child_killed_while_it_draws_gives_a_sentence_and_is_replaced(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            await pictures.layout(files)
            pid = pictures.pid
            assert pid is not None
            with pytest.raises(PictureError, match="ended meanwhile"):
                await hurt(pictures, pid, files, signal.SIGKILL)
            assert is_sound(await pictures.tile(files, "before", 0, 0, 0))
            assert pictures.pid != pid

    run(story())


async def hurt(pictures: Pictures, pid: int, files: FrameFiles, number: signal.Signals) -> None:
    """Send the child a signal as soon as it has begun a tile."""
    task = asyncio.create_task(pictures.tile(files, "before", 0, 0, 0))
    process = pictures._process
    take = process._take

    def stopping(words: dict[str, Any], child: Any) -> None:
        if "begun" in words:
            os.kill(pid, number)
        elif words.get("path"):
            return  # it was quicker than the signal
        take(words, child)

    process._take = stopping  # type: ignore[method-assign]
    try:
        await task
    finally:
        process._take = take  # type: ignore[method-assign]


@pytest.mark.parametrize("content", [b"", b"no picture", b"II*\0\x08\0\0\0", b"P6\n4000000 4000000\n65535\n"])
def test_a_hostile_scan_gives_a_sentence_and_the_next_frame_is_drawn(tmp_path: Path, content: bytes) -> None:
    files, *_ = draw_frame(tmp_path)
    bad = tmp_path / "bad.tif"
    bad.write_bytes(content)

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            hostile = FrameFiles(9, "bad", bad)
            for question in (
                pictures.layout(hostile),
                pictures.thumb(hostile),
                pictures.tile(hostile, "before", 0, 0, 0),
            ):
                with pytest.raises(PictureError, match=r"^bad\.tif: .+"):
                    await question
            assert is_sound(await pictures.tile(files, "before", 0, 0, 0))

    run(story())


def test_a_truncated_scan_gives_a_sentence(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path, kind="lzw")
    files.scan.write_bytes(files.scan.read_bytes()[:-5000])

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            with pytest.raises(PictureError, match=r"^scan\.lzw: "):
                await pictures.tile(FrameFiles(1, "k", files.scan), "before", 0, 0, 0)

    run(story())


def test_a_request_nobody_waits_for_is_dropped(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            await pictures.layout(files)
            pid = pictures.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            asked = [asyncio.create_task(pictures.tile(files, "before", 0, col, 0)) for col in range(3)]
            await asyncio.sleep(0.05)
            asked[0].cancel()
            asked[1].cancel()
            await asyncio.sleep(0.05)
            os.kill(pid, signal.SIGCONT)
            path = await asked[2]
            await pictures.tile(files, "before", 1, 0, 0)
            # The child may have taken the first one before the word came that nobody wants it.
            drawn = {each.name for each in path.parent.glob("before_0_*")}
            assert "before_0_2_0.jpg" in drawn
            assert len(drawn) <= 2
            assert not pictures._asked

    run(story())


def test_an_idle_child_ends_and_the_next_request_starts_another(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state", idle_seconds=0.3) as pictures:
            await pictures.tile(files, "before", 0, 0, 0)
            assert pictures.pid is not None
            await until(lambda: pictures.pid is None)
            assert is_sound(await pictures.tile(files, "before", 0, 1, 0))

    run(story())


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)
    program = (
        "import asyncio, os, sys\nfrom pathlib import Path\n"
        "from spotlessd.review.pictures import Pictures\nfrom spotlessd.review.frame_files import FrameFiles\n"
        "async def main():\n    pictures = Pictures(Path(sys.argv[1]))\n"
        "    await pictures.layout(FrameFiles(1, 'k', Path(sys.argv[2])))\n"
        "    print(pictures.pid, flush=True)\n    os.kill(os.getpid(), 9)\nasyncio.run(main())\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "state"), str(files.scan)], capture_output=True, check=False
    )

    pid = int(done.stdout)
    asyncio.run(until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE))


def test_the_child_steps_back_and_has_no_torch(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            await pictures.tile(files, "after", 0, 0, 0)
            assert pictures.pid is not None
            child = psutil.Process(pictures.pid)
            assert child.nice() >= 10
            assert not [
                one.path for one in child.memory_maps() if "torch" in one.path.lower() and "turbo" not in one.path
            ]

    run(story())


def test_drawing_loads_no_torch_in_a_fresh_interpreter() -> None:
    program = (
        "import sys; import spotlessd.review.drawing, spotlessd.review.picture_child; print('torch' in sys.modules)"
    )

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert found.strip() == "False"


def test_the_daemons_own_end_loads_no_pixels() -> None:
    heavy = "('numpy', 'cv2', 'torch')"
    program = f"import sys; import spotlessd.review.pictures; print([n for n in {heavy} if n in sys.modules])"

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert found.strip() == "[]"


def test_two_processes_may_draw_the_same_frame(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state") as one, opened(tmp_path / "state") as other:
            places = [(layer, 0, col, row) for layer in ("before", "after") for row in range(2) for col in range(3)]
            drawn = await asyncio.gather(*(each.tile(files, *place) for place in places for each in (one, other)))
            assert all(is_sound(path) and read_tile(path).size for path in drawn)

    run(story())


def test_after_closing_nothing_is_drawn(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    async def story() -> None:
        async with opened(tmp_path / "state") as pictures:
            await pictures.layout(files)
            pictures.close()
            with pytest.raises(PictureError, match="closed"):
                await pictures.tile(files, "before", 0, 0, 0)

    run(story())
