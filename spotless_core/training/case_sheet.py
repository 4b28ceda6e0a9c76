"""Draw cases as one PNG: per case the film as it is, the film stretched and outlined, the probability, and a caption.

A crop of 80 px is shown at 2×, larger ones smaller.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from spotless_core.arrays.kinds import Mask
from spotless_core.training.worst_cases import Case

PANEL_PX = 160
COLUMNS = 3
GAP_PX, LEGEND_PX, CAPTION_PX, FONT_PX = 12, 28, 36, 12
PAPER, INK = (32, 33, 36), (232, 234, 237)
TRUTH, MARKED = (86, 180, 233), (230, 159, 0)
"""Blue and orange of Okabe and Ito's palette, told apart by colour-blind eyes."""

LEGEND = (
    ("the film; ", INK),
    ("stretched, with dust a person can see ", INK),
    ("outlined in blue, ", TRUTH),
    ("what was marked in orange; ", MARKED),
    ("the network's probability", INK),
)

Panel = NDArray[np.uint8]


def draw_cases(cases: Sequence[Case], target: Path) -> None:
    """Write at least one case to the PNG `target`, three in a row, the worst first."""
    width, height = 3 * PANEL_PX + GAP_PX, PANEL_PX + CAPTION_PX + GAP_PX
    rows = -(-len(cases) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width + GAP_PX, rows * height + LEGEND_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), FONT_PX)
    left = GAP_PX
    for text, colour in LEGEND:
        draw.text((left, GAP_PX // 2), text, colour, font)
        left += round(draw.textlength(text, font))
    for index, case in enumerate(cases):
        left, top = index % COLUMNS * width + GAP_PX, index // COLUMNS * height + LEGEND_PX
        sheet.paste(Image.fromarray(draw_case(case)), (left, top))
        for line, text in enumerate(case.caption):
            number = f"{index + 1}  " if line == 0 else ""
            draw.text((left, top + PANEL_PX + 2 + line * (FONT_PX + 3)), number + text, INK, font)
    sheet.save(target)


def draw_case(case: Case) -> Panel:
    """Return the three panels side by side: `PANEL_PX`×3·`PANEL_PX`×3 uint8 RGB."""
    low, high = np.percentile(case.grey, (1, 99))
    stretched = np.clip((case.grey - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    outlined = _rgb(_panel(stretched))
    for mask, colour in ((case.truth, TRUTH), (case.marked, MARKED)):
        outlined[_outline(mask)] = colour
    return np.hstack([_rgb(_panel(case.grey)), outlined, _rgb(_panel(case.probability))])


def _panel(plane: Panel) -> Panel:
    method = cv2.INTER_AREA if plane.shape[0] > PANEL_PX else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(plane, (PANEL_PX, PANEL_PX), interpolation=method), np.uint8)


def _outline(mask: Mask) -> Mask:
    """Pixels of the panel just outside `mask`; a line thinner than a pixel of the panel stays."""
    shown = _panel(mask.astype(np.uint8) * np.uint8(255)) > 64
    return (np.asarray(cv2.dilate(shown.view(np.uint8), np.ones((3, 3), np.uint8))) > 0) & ~shown


def _rgb(plane: Panel) -> Panel:
    return np.repeat(plane[..., None], 3, axis=2)
