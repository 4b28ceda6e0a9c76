"""The pictures of one frame: layout, tiles of its layers, thumbnail. Runs in the child process (picture_child.py).

The repaired frame is the scan outside its mask, byte for byte, so tiles without a repair are drawn once and only the
rows with repairs are read from the result. Everything drawn is kept in the frame's folder of the cache.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from spotless_core.arrays.encoding import Encoding
from spotless_core.arrays.kinds import Mask
from spotless_core.errors import SpotlessError
from spotless_core.image_io.preview import GAP_PX, PANELS
from spotlessd.review.film import Film, Values, Wanted, shrink
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.mask_layer import MaskLayer
from spotlessd.review.picture_cache import is_sound, put, put_same
from spotlessd.review.picture_source import PictureError
from spotlessd.review.picture_words import AFTER, BEFORE, MASK, THUMB, TILE_PX, PictureLayout, level_count, tile_name
from spotlessd.review.tones import Rgb, Tones, as_jpeg, encoding_from_words, encoding_to_words

FACTS = "facts.json"
THUMB_PX = 480
"""Long side of a thumbnail: sharp on screens of two px for one."""
COMPARED_ROWS = 6
"""Rows in which scan and result are compared outside the mask, before one is shown for the other."""
NEAR_ROWS = 4
"""Rows of the coarse level between two repairs that are read rather than left out."""
SMALL_PX = 4_000_000
"""A frame of so many pixels is read in no time: its preview is not asked."""
SMALLEST_DECODE = 8
"""A JPEG decoder's smallest picture is an eighth."""
EXACT = {"exact", "transcoded"}


class FramePictures:
    """Draws one frame into `folder`; files are opened at their first use and stay open until `close`."""

    def __init__(self, files: FrameFiles, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._films: dict[str, Film] = {}
        self._coarse: dict[str, Values] = {}
        self._strip: tuple[Rgb, int, int] | None = None
        self._mask: MaskLayer | None = None
        self._encoding: Encoding | None = None
        self._tones: Tones | None = None
        self._is_same: bool | None = None
        self._identity = _identity(files)

    def close(self) -> None:
        """Close the files and give the memory back."""
        for film in self._films.values():
            film.close()
        self._films.clear()
        self._coarse.clear()
        self._strip = None
        self._mask = None

    def layout(self) -> PictureLayout:
        """Return the frame's size and the layers it has.

        Raises:
            PictureError: neither the scan nor the result is there.
        """
        files = self._files
        paths = {BEFORE: files.scan, AFTER: files.result, MASK: files.mask}
        layers = tuple(layer for layer, path in paths.items() if path is not None and path.is_file())
        sources = [layer for layer in layers if layer != MASK]
        if not sources:
            raise PictureError(f"{files.scan.name}: the scan and its result are no longer where they were.")
        info = self._film(sources[0]).info
        levels = level_count(info.width, info.height)
        return PictureLayout(info.width, info.height, TILE_PX, levels, layers)

    def tile(self, layer: str, level: int, col: int, row: int, is_wanted: Wanted) -> Path:
        """Draw one tile, if it does not lie there yet, and return its path.

        Raises:
            PictureError: there is no such tile.
            SpotlessError: the file is missing or damaged.
            NotWantedError: `is_wanted` became false meanwhile.
        """
        layout = self.layout()
        if layer not in layout.layers:
            raise PictureError(f"{self._files.scan.name}: there is no picture {layer!r} of this frame.")
        step = TILE_PX << level if 0 <= level < layout.levels else 0
        if not step or not 0 <= col * step < layout.width or not 0 <= row * step < layout.height:
            raise PictureError(f"{self._files.scan.name}: there is no tile {level}/{col}_{row}.")
        place = self._folder / tile_name(layer, level, col, row)
        if self._is_current() and is_sound(place):
            return place
        if layer == MASK:
            return put(place, self._mask_layer(layout).tile(level, col, row))
        picture = self._from_preview(layer, level, col, row, layout)
        if picture is None:
            if (
                layer == AFTER
                and self._is_film_outside(layout)
                and not self._mask_layer(layout).touches(level, col, row)
            ):
                return put_same(place, self.tile(BEFORE, level, col, row, is_wanted))
            picture = self._tile_rgb(layer, level, col, row, is_wanted)
        return put(place, as_jpeg(picture))

    def thumb(self, is_wanted: Wanted) -> Path:
        """Draw the thumbnail: of the result, or of the scan where there is none. Raises as `tile` does."""
        place = self._folder / THUMB
        if self._is_current() and is_sound(place):
            return place
        picture = self._panel(AFTER, THUMB_PX)
        if picture is None:
            layout = self.layout()
            layer = AFTER if AFTER in layout.layers else BEFORE
            coarse = self._coarse_of(layer, is_wanted)
            extra = max((max(coarse.shape[:2]) // THUMB_PX).bit_length() - 1, 0)
            picture = self._shown(shrink(coarse, extra), is_wanted)
        scale = min(THUMB_PX / max(picture.shape[:2]), 1.0)
        size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
        return put(place, as_jpeg(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)))

    def _panel(self, layer: str, least_px: int = 0) -> Rgb | None:
        """Return a layer as the preview shows it (held frames: twice the scan); None if there is no sound preview.

        `least_px`: so many pixels on its long side are enough, which is much quicker (JPEG decodes at 1/2, 1/4, 1/8).
        """
        if self._strip is None and not least_px:
            self._strip = _decoded(self._files.preview)
        strip = self._strip or _decoded(self._files.preview, least_px)
        if strip is None:
            return None
        pixels, width, scale = strip
        left = 0 if layer == BEFORE else width + GAP_PX
        return pixels[:, -(-left // scale) : (left + width) // scale]

    def _from_preview(self, layer: str, level: int, col: int, row: int, layout: PictureLayout) -> Rgb | None:
        """Return a tile of a level that the preview is finer than: it is there at once, whatever the scan's format."""
        if self._coarse_of_is_cheap(layer):
            return None
        panel = self._panel(layer)
        height, width = (-(-side // (1 << level)) for side in (layout.height, layout.width))
        if panel is None or panel.shape[0] < height or panel.shape[1] < width:
            return None
        whole = np.asarray(cv2.resize(panel, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        top, left = row * TILE_PX, col * TILE_PX
        return whole[top : top + TILE_PX, left : left + TILE_PX]

    def _coarse_of_is_cheap(self, layer: str) -> bool:
        """Tell whether a layer's coarse level is at hand, or its frame so small that reading it takes no time."""
        info = self._film(layer).info
        return layer in self._coarse or info.width * info.height <= SMALL_PX

    def _tile_rgb(self, layer: str, level: int, col: int, row: int, is_wanted: Wanted) -> Rgb:
        film = self._film(layer)
        top, left = row * TILE_PX, col * TILE_PX
        if level >= film.coarse_level:
            shift = level - film.coarse_level
            coarse = self._coarse_of(layer, is_wanted)
            part = coarse[top << shift : top + TILE_PX << shift, left << shift : left + TILE_PX << shift]
            return self._shown(shrink(part, shift), is_wanted)
        if film.needs_survey:
            self._coarse_of(layer, is_wanted, alone=True)
        bottom = min(top + TILE_PX, -(-film.info.height // (1 << level)))
        columns = slice(left, left + TILE_PX)
        layout = self.layout()
        if layer == BEFORE or not self._is_film_outside(layout):
            return self._shown(film.rows(level, top, bottom)[:, columns], is_wanted)
        if self._film(BEFORE).needs_survey:
            self._coarse_of(BEFORE, is_wanted, alone=True)
        part = self._film(BEFORE).rows(level, top, bottom)[:, columns].copy()
        marked = self._mask_layer(layout).window(level, top, left, bottom, left + TILE_PX)
        for first, last in _parts(marked):
            part[first:last] = film.read(level, top + first, top + last)[:, columns]
        return self._shown(part, is_wanted)

    def _shown(self, values: Values, is_wanted: Wanted) -> Rgb:
        if self._tones is None:
            layers = self.layout().layers
            self._coarse_of(BEFORE if BEFORE in layers else AFTER, is_wanted)
        if self._tones is None:
            raise PictureError(f"{self._files.scan.name}: its tones could not be measured; load the page again.")
        return self._tones.show(values)

    def _coarse_of(self, layer: str, is_wanted: Wanted, *, alone: bool = False) -> Values:
        """Return a layer at its coarse level; `alone`: read it from its own file, whatever could be taken over."""
        if layer in self._coarse and not (alone and self._film(layer).needs_survey):
            return self._coarse[layer]
        film = self._film(layer)
        if layer == AFTER and not alone and not film.needs_survey and self._is_film_outside(self.layout()):
            coarse = self._coarse_of(BEFORE, is_wanted).copy()
            film.renew(coarse, _parts(self._mask_layer(self.layout()).coarse), is_wanted)
        else:
            coarse, encoding = film.survey(is_wanted)
            if layer == BEFORE or BEFORE not in self.layout().layers:
                self._take_encoding(encoding)
        self._coarse[layer] = coarse
        return coarse

    def _is_film_outside(self, layout: PictureLayout) -> bool:
        """Tell whether the result is the scan outside the mask, as the receipt says: proven again on a few rows."""
        if self._is_same is None:
            self._is_same = BEFORE in layout.layers and MASK in layout.layers and self._agree(layout)
        return self._is_same

    def _agree(self, layout: PictureLayout) -> bool:
        before, after = (self._film(layer) for layer in (BEFORE, AFTER))
        if before.info.container == "jpeg" or before.info.preservation not in EXACT:
            return False
        facts = {(info.height, info.width, info.color_channels, info.dtype) for info in (before.info, after.info)}
        if len(facts) > 1:
            return False
        if before.needs_survey or after.needs_survey:
            return True
        mask = self._mask_layer(layout)
        for row in np.linspace(0, layout.height - 1, COMPARED_ROWS).astype(int).tolist():
            marked = mask.window(0, row, 0, row + 1, layout.width)
            one, other = (film.stored(row, row + 1) for film in (before, after))
            if not np.array_equal(one[~marked], other[~marked]):
                return False
        return True

    def _film(self, layer: str) -> Film:
        if layer not in self._films:
            path = self._files.result if layer == AFTER else self._files.scan
            if path is None:
                raise PictureError(f"{self._files.scan.name}: there is no picture {layer!r} of this frame.")
            try:
                self._films[layer] = Film(path, self._folder.parent)
            except SpotlessError as error:
                raise PictureError(f"{path.name}: {error}") from error
        return self._films[layer]

    def _mask_layer(self, layout: PictureLayout) -> MaskLayer:
        if self._mask is None:
            if self._files.mask is None:
                raise PictureError(f"{self._files.scan.name}: there is no mask of this frame.")
            self._mask = MaskLayer(self._files.mask, (layout.height, layout.width))
        return self._mask

    def _is_current(self) -> bool:
        """Tell whether what lies in the folder was drawn from the files as they are; else it is emptied first."""
        place = self._folder / FACTS
        try:
            facts = json.loads(place.read_bytes())
            if facts["files"] == self._identity:
                if self._tones is None and facts["encoding"] is not None:
                    self._encoding = encoding_from_words(facts["encoding"])
                    self._tones = Tones(self._encoding)
                return True
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            place.unlink(missing_ok=True)
        for path in self._folder.glob("*.*"):
            path.unlink(missing_ok=True)
        self._keep_facts()
        return False

    def _take_encoding(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._tones = Tones(encoding)
        self._keep_facts()

    def _keep_facts(self) -> None:
        encoding = self._encoding
        words = {"files": self._identity, "encoding": None if encoding is None else encoding_to_words(encoding)}
        put(self._folder / FACTS, json.dumps(words).encode())


def _identity(files: FrameFiles) -> list[Any]:
    """Return what changes when one of the files does, as JSON values."""
    found: list[Any] = []
    for path in (files.scan, files.result, files.mask, files.preview):
        try:
            facts = None if path is None else path.stat()
        except OSError:
            facts = None
        found.append(None if facts is None else [facts.st_size, facts.st_mtime_ns])
    return found


def _parts(marked: Mask) -> list[tuple[int, int]]:
    """Return the stretches [first, last) of rows in which anything is marked; near ones are one."""
    rows = np.flatnonzero(marked.any(axis=1))
    if not len(rows):
        return []
    cuts = np.flatnonzero(np.diff(rows) > NEAR_ROWS)
    firsts, lasts = rows[np.r_[0, cuts + 1]], rows[np.r_[cuts, len(rows) - 1]] + 1
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _decoded(preview: Path | None, least_px: int = 0) -> tuple[Rgb, int, int] | None:
    """Return a preview's pixels, the width of a panel in it and the scale 1/n it was decoded at; None if not sound."""
    if preview is None or not preview.is_file():
        return None
    try:
        with Image.open(preview, formats=["JPEG"]) as picture:
            full, height = picture.size
            width, rest = divmod(full - (PANELS - 1) * GAP_PX, PANELS)
            if rest or width < 1:
                return None
            scale = 1
            while least_px and scale < SMALLEST_DECODE and max(width, height) >= 2 * scale * least_px:
                scale *= 2
            if scale > 1:
                picture.draft("RGB", (full // scale, height // scale))
                scale = round(full / picture.width)
            return np.asarray(picture.convert("RGB")), width, scale
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
