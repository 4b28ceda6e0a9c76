"""What the page needs of whoever draws its pictures (pictures.py): the seam that tests fill with a fake."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from spotlessd.review.edits import Edits
from spotlessd.review.frame_files import FrameFiles

Box = tuple[int, int, int, int]


class PictureError(Exception):
    """There is no such picture; its text is one sentence."""


class Layout(Protocol):
    """A frame's pyramid: size of level 0 and side of the tiles in px, how many levels, the layers it has."""

    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def levels(self) -> int: ...  # noqa: D102
    @property
    def layers(self) -> Sequence[str]: ...  # noqa: D102


class PictureSource(Protocol):
    """Draws in a process of its own and returns finished files. Of one event loop."""

    async def thumb(self, files: FrameFiles) -> Path:
        """Return a small JPEG of the frame."""
        ...

    async def tile(self, files: FrameFiles, layer: str, level: int, col: int, row: int) -> Path:
        """Return one tile of a layer."""
        ...

    async def layout(self, files: FrameFiles) -> Layout:
        """Return what tiles there are."""
        ...

    async def draw_mask(self, files: FrameFiles, edits: Edits, defect_boxes: Sequence[Box]) -> Path:
        """Return the frame's mask with the edits, as a file in the state folder."""
        ...

    def close(self) -> None:
        """End the process."""
        ...
