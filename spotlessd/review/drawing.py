"""The desk of the child process: the frames open on it, one request at a time, and errors turned into sentences."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
from loguru import logger

from spotless_core.errors import SpotlessError
from spotlessd.errors import DaemonError
from spotlessd.review.film import NotWantedError
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.mask_drawing import draw_mask
from spotlessd.review.picture_cache import frame_folder, touch, trim
from spotlessd.review.picture_source import PictureError
from spotlessd.review.picture_words import edits_from_words, files_from_words
from spotlessd.review.pyramid import FramePictures

Words = dict[str, Any]


class Desk:
    """Draws for one state folder. At most `open_frames` stay open; the cache is measured after `check_bytes` more."""

    def __init__(self, state_dir: Path, cache_bytes: int, open_frames: int, check_bytes: int) -> None:
        cv2.setNumThreads(1)
        self._state_dir = state_dir
        self._cache_bytes = cache_bytes
        self._open_frames = open_frames
        self._check_bytes = check_bytes
        self._drawn_bytes = check_bytes  # so that it is measured at the first chance
        self._frames: OrderedDict[FrameFiles, FramePictures] = OrderedDict()

    def do(self, words: Words, is_wanted: Callable[[], bool]) -> Words:
        """Carry out one request and return the answer."""
        files = files_from_words(words["files"])
        try:
            return self._answer(files, words, is_wanted)
        except PictureError as error:
            return {"error": str(error)}
        except NotWantedError:
            return {"error": "not wanted any more."}
        except (SpotlessError, DaemonError) as error:
            self._forget(files)
            return {"error": f"{files.scan.name}: {error}"}
        except MemoryError:
            self.rest()
            return {"error": f"{files.scan.name}: too little memory to draw it; try again later."}
        except OSError as error:
            self._forget(files)
            return {"error": f"{files.scan.name}: it cannot be drawn ({error.strerror or error})."}
        except Exception as error:  # noqa: BLE001 - the job boundary of the child: one bad file must not end it
            logger.exception("drawing {}", files.scan.name)
            self._forget(files)
            return {"error": f"{files.scan.name}: it cannot be drawn ({type(error).__name__})."}

    def rest(self) -> None:
        """Give back what is held of the frames, and keep the cache within its size."""
        while self._frames:
            self._frames.popitem()[1].close()
        if self._drawn_bytes >= self._check_bytes:
            self._drawn_bytes = 0
            trim(self._state_dir, self._cache_bytes)

    def _answer(self, files: FrameFiles, words: Words, is_wanted: Callable[[], bool]) -> Words:
        if words["do"] == "mask":
            boxes = [(box[0], box[1], box[2], box[3]) for box in words["boxes"]]
            return {"path": str(draw_mask(files, edits_from_words(words["edits"]), boxes, self._state_dir))}
        if words["do"] == "thumb":
            # A roll has thousands: none of them takes the place of a frame that is looked at.
            if files in self._frames:
                return self._drawn(self._frames[files].thumb(is_wanted))
            alone = FramePictures(files, frame_folder(self._state_dir, files))
            try:
                return self._drawn(alone.thumb(is_wanted))
            finally:
                alone.close()
        pictures = self._frame(files)
        if words["do"] == "layout":
            return {"layout": asdict(pictures.layout())}
        path = pictures.tile(words["layer"], words["level"], words["col"], words["row"], is_wanted)
        return self._drawn(path)

    def _drawn(self, path: Path) -> Words:
        touch(path.parent)
        self._drawn_bytes += path.stat().st_size
        return {"path": str(path)}

    def _frame(self, files: FrameFiles) -> FramePictures:
        if files not in self._frames:
            while len(self._frames) >= self._open_frames:
                self._frames.popitem(last=False)[1].close()
            self._frames[files] = FramePictures(files, frame_folder(self._state_dir, files))
            if self._drawn_bytes >= self._check_bytes:
                self._drawn_bytes = 0
                trim(self._state_dir, self._cache_bytes)
        self._frames.move_to_end(files)
        return self._frames[files]

    def _forget(self, files: FrameFiles) -> None:
        pictures = self._frames.pop(files, None)
        if pictures is not None:
            pictures.close()
