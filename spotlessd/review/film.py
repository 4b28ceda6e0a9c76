"""One image file of a frame, read for the eye: rows of any level of its pyramid, area means of the stored values.

The whole is read once (`survey`), in bands, for the coarse levels and for the encoding that decides the tones. Finer
levels come from windows of rows afterwards; a format that cannot give them lies decoded in an unlinked file by then.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.encoding import SAMPLE_COUNT, Encoding, sense_encoding
from spotless_core.arrays.kinds import Samples
from spotless_core.errors import OutputError
from spotless_core.image_io.looking import open_to_look, rows_together
from spotless_core.image_io.scratch import ScratchSpace, StoredPlane, scratch_folders

Values = NDArray[Any]
"""Stored values, h×w×C, of any level."""
Wanted = Callable[[], bool]

BAND_ROWS = 512
LONE_ROWS = 512
"""Segments of more rows are decoded by one thread, or each thread would decode the same ones."""
COARSE_PX = 8_000_000
"""The coarse levels begin where a frame has at most so many pixels: 48 MB of 16-bit RGB."""
LEAST_COARSE_LEVEL = 2
SURVEY_THREADS = 2
"""Only for the first look at a frame, for which a person waits."""
KEPT_BYTES = 40 << 20
"""Rows that neighbouring tiles were cut from."""


class NotWantedError(Exception):
    """Who asked for a picture does not want it any more."""


def coarse_level(width: int, height: int) -> int:
    """Return the first level that is held in memory as a whole."""
    level = LEAST_COARSE_LEVEL
    while (width >> level) * (height >> level) > COARSE_PX:
        level += 1
    return level


class Film:
    """One open image file of the frame; `folder`: where a large temporary file may lie.

    Raises:
        SpotlessError: the file is missing, damaged or of a kind that is not read.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._scan = open_to_look(path)
        self._space = ScratchSpace(scratch_folders(folder), memory_bytes=0)
        self.info = self._scan.info
        self.coarse_level = coarse_level(self.info.width, self.info.height)
        self._together = rows_together(self._scan)
        self._has_windows = self._together <= LONE_ROWS
        self._plane: StoredPlane | None = None
        self._is_surveyed = False
        self._kept: OrderedDict[tuple[int, int, int], Values] = OrderedDict()
        self._kept_bytes = 0

    @property
    def needs_survey(self) -> bool:
        """Whether rows would cost the whole frame: it has no windows and was not surveyed yet."""
        return not self._has_windows and not self._is_surveyed

    def survey(self, is_wanted: Wanted) -> tuple[Values, Encoding]:
        """Read the whole frame; return its values at `coarse_level`, and its encoding.

        Raises:
            ScanError: the file is damaged.
            NotWantedError: `is_wanted` became false.
        """
        info, level = self.info, self.coarse_level
        step = max(int(np.sqrt(info.height * info.width / SAMPLE_COUNT)), 1)  # as sense_encoding takes them
        sampled = range(step // 2, info.height, step)
        chosen = np.empty((len(sampled), len(range(step // 2, info.width, step)), info.color_channels), info.dtype)
        coarse = self._empty(level)
        if not self._has_windows and self._plane is None:
            with suppress(OutputError):  # then the rows are decoded each time
                self._plane = self._space.plane((info.height, info.width, info.color_channels), info.dtype)
        has_plane = self._plane is not None

        def look(top: int, bottom: int, rows: Samples) -> None:
            if has_plane and self._plane is not None:
                self._plane.write_rows(top, rows)
            coarse[top >> level : -(-bottom // (1 << level))] = shrink(rows, level)
            within = range(-(-(top - step // 2) // step), -(-(bottom - step // 2) // step))
            for index in within:
                chosen[index] = rows[sampled[index] - top, step // 2 :: step]

        self._each_band([(0, info.height)], look, is_wanted)
        self._is_surveyed = True
        if has_plane:
            self._scan.close()  # a decoded JPEG takes the memory of the whole frame
        windows = _Sampled((info.height, info.width, info.color_channels), chosen)
        return coarse, sense_encoding(windows, info.bits, is_min_white=info.is_min_white)

    def renew(self, coarse: Values, parts: Sequence[tuple[int, int]], is_wanted: Wanted) -> None:
        """Read `parts` [top, bottom) of the coarse level's rows into `coarse`, an array of that level (in place)."""
        level = self.coarse_level

        def look(top: int, bottom: int, rows: Samples) -> None:
            coarse[top >> level : -(-bottom // (1 << level))] = shrink(rows, level)

        height = self.info.height
        self._each_band([(top << level, min(bottom << level, height)) for top, bottom in parts], look, is_wanted)

    def rows(self, level: int, top: int, bottom: int) -> Values:
        """Return rows [top, bottom) of `level`, finer than the coarse one, as h×w×C; read only."""
        key = (level, top, bottom)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = self.read(level, top, bottom)
        self._kept[key] = found
        self._kept_bytes += found.nbytes
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return found

    def read(self, level: int, top: int, bottom: int) -> Values:
        """Return rows [top, bottom) of `level` as `rows` does, without keeping them for the next time."""
        last = min(bottom << level, self.info.height)
        step = max(BAND_ROWS, 1 << level)
        parts = [
            shrink(self.stored(first, min(first + step, last)), level) for first in range(top << level, last, step)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def stored(self, top: int, bottom: int) -> Samples:
        """Return rows of the frame as stored."""
        if self._plane is not None and self._is_surveyed:
            return self._plane[top:bottom, 0 : self.info.width]
        return self._scan.read_rows(top, bottom)

    def close(self) -> None:
        """Close the file and give the memory back."""
        self._kept.clear()
        self._scan.close()
        self._space.close()

    def _empty(self, level: int) -> Values:
        info = self.info
        size = (-(-info.height // (1 << level)), -(-info.width // (1 << level)), info.color_channels)
        return np.empty(size, _shown_type(info.dtype))

    def _each_band(
        self, parts: list[tuple[int, int]], look: Callable[[int, int, Samples], None], is_wanted: Wanted
    ) -> None:
        """Show `look` the bands of all `parts`, several at once where decoding takes the time."""
        step = max(BAND_ROWS, 1 << self.coarse_level)
        cuts = [(top, min(top + step, bottom)) for first, bottom in parts for top in range(first, bottom, step)]
        threads = SURVEY_THREADS if self._has_windows and len(cuts) > 1 else 1
        if threads == 1:
            for top, bottom in cuts:
                _require(is_wanted)
                look(top, bottom, self.stored(top, bottom))
            return
        waiting = iter(cuts)
        lock = threading.Lock()

        def work() -> None:
            with open_to_look(self._path) as scan:
                while True:
                    with lock:
                        cut = next(waiting, None)
                    if cut is None:
                        return
                    _require(is_wanted)
                    look(*cut, scan.read_rows(*cut))

        with ThreadPoolExecutor(threads, "survey") as pool:
            for future in [pool.submit(work) for _ in range(threads)]:
                future.result()


class _Sampled:
    """The windows of a frame of which `sense_encoding` takes one: every so many rows and columns."""

    def __init__(self, shape: tuple[int, int, int], chosen: Values) -> None:
        self.shape = shape
        self.dtype = chosen.dtype
        self._chosen = chosen

    def __getitem__(self, place: tuple[slice, slice], /) -> Values:
        sizes = tuple(len(range(*part.indices(length))) for part, length in zip(place, self.shape, strict=False))
        if sizes != self._chosen.shape[:2]:
            raise ValueError(f"a window of {sizes}; {self._chosen.shape[:2]} expected.")
        return self._chosen


def shrink(rows: Values, level: int) -> Values:
    """Return h×w×C rows at 1/2^`level`: means of squares; a square over the edge takes what it has of the frame."""
    if not level:
        return rows
    values = rows.astype(_shown_type(rows.dtype), copy=False)
    height, width, channels = values.shape
    side = 1 << level
    down, right = -height % side, -width % side
    if down or right:
        values = cv2.copyMakeBorder(values, 0, down, 0, right, cv2.BORDER_REPLICATE)
    size = ((width + right) // side, (height + down) // side)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA)).reshape(size[1], size[0], channels)


def _shown_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """OpenCV has no arithmetic for half floats."""
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def _require(is_wanted: Wanted) -> None:
    if not is_wanted():
        raise NotWantedError
