"""Thumbnails, tiles and edited masks for the page: finished files, drawn by a child process, kept in the state folder.

The daemon's own process touches no pixel here: it looks whether a sound file lies there, else it asks the child. The
same picture asked for several times at once is drawn once. Of one event loop.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from spotlessd.review.edits import Edits
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.picture_cache import frame_folder, is_sound, touch
from spotlessd.review.picture_process import IDLE_SECONDS, LIMIT_SECONDS, PictureProcess
from spotlessd.review.picture_source import Box, PictureError
from spotlessd.review.picture_words import (
    LAYERS,
    THUMB,
    PictureLayout,
    edits_to_words,
    files_to_words,
    layout_from_words,
    tile_name,
)

__all__ = ["PictureError", "PictureLayout", "Pictures"]

CACHE_MB = 2000
TOUCH_SECONDS = 30.0
"""How often it is noted that a frame is looked at."""
KEPT_LAYOUTS = 200

Words = dict[str, Any]


class Pictures:
    """Implements `PictureSource`. `cache_mb`: how much is kept under `state_dir`, in MB.

    `idle_seconds`: the child ends after so long without a request. `limit_seconds`: what takes longer is given up.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        cache_mb: int = CACHE_MB,
        idle_seconds: float = IDLE_SECONDS,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._state_dir = state_dir
        self._process = PictureProcess(state_dir, cache_mb, idle_seconds=idle_seconds, limit_seconds=limit_seconds)
        self._layouts: dict[FrameFiles, PictureLayout] = {}
        self._touched: dict[Path, float] = {}
        self._asked: dict[object, _Shared] = {}

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._process.pid

    async def layout(self, files: FrameFiles) -> PictureLayout:
        """Return the frame's size, its levels and layers.

        Raises:
            PictureError: the scan cannot be read.
        """
        if files not in self._layouts:
            answer = await self._ask(("layout", files), {"do": "layout", "files": files_to_words(files)})
            while len(self._layouts) >= KEPT_LAYOUTS:
                del self._layouts[next(iter(self._layouts))]
            self._layouts[files] = layout_from_words(answer["layout"])
        return self._layouts[files]

    async def thumb(self, files: FrameFiles) -> Path:
        """Return a JPEG of at most 480 px: the result, or the scan where there is none yet.

        Raises:
            PictureError: no file of the frame can be read.
        """
        words = {"do": "thumb", "files": files_to_words(files)}
        return await self._drawn(frame_folder(self._state_dir, files) / THUMB, words)

    async def tile(self, files: FrameFiles, layer: str, level: int, col: int, row: int) -> Path:
        """Return one tile of `layer` ("before", "after": JPEG, "mask": PNG with a transparent ground).

        Raises:
            PictureError: there is no such tile, or its file cannot be read.
        """
        if layer not in LAYERS:
            raise PictureError(f"{files.scan.name}: there is no picture {layer!r} of this frame.")
        place = frame_folder(self._state_dir, files) / tile_name(layer, level, col, row)
        words = {"do": "tile", "files": files_to_words(files), "layer": layer, "level": level, "col": col, "row": row}
        return await self._drawn(place, words)

    async def draw_mask(self, files: FrameFiles, edits: Edits, defect_boxes: Sequence[Box]) -> Path:
        """Return the frame's mask with `edits`, a finished PNG in the state folder.

        `defect_boxes`: of all the receipt's defects, in their order.

        Raises:
            PictureError: it cannot be drawn.
        """
        words = {"do": "mask", "files": files_to_words(files), "edits": edits_to_words(edits), "boxes": [*defect_boxes]}
        answer = await self._process.ask(words)
        return Path(answer["path"])

    def close(self) -> None:
        """End the child."""
        self._process.close()

    async def _drawn(self, place: Path, words: Words) -> Path:
        if is_sound(place):
            self._touch(place.parent)
            return place
        answer = await self._ask(place, words)
        return Path(answer["path"])

    async def _ask(self, key: object, words: Words) -> Words:
        """Ask the child, once for all who want the same now; it is taken back when the last of them is gone."""
        shared = self._asked.get(key)
        if shared is None:
            shared = self._asked[key] = _Shared(self._process.ask(words), lambda: self._asked.pop(key, None))
        return await shared.wait()

    def _touch(self, folder: Path) -> None:
        now = monotonic()
        if now - self._touched.get(folder, 0.0) > TOUCH_SECONDS:
            if len(self._touched) > KEPT_LAYOUTS:
                self._touched.clear()
            self._touched[folder] = now
            touch(folder)


class _Shared:
    """One question with several who wait for its answer."""

    def __init__(self, question: Coroutine[Any, Any, Words], on_end: Callable[[], object]) -> None:
        self._task = asyncio.create_task(question)
        self._task.add_done_callback(lambda _task: on_end())
        self._on_end = on_end
        self._waiting = 0

    async def wait(self) -> Words:
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._task.done():
                self._on_end()
                self._task.cancel()
