"""Draw cases of repairs as one PNG, at 200 %: before, Telea, ours, truth, and a caption below."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from spotless_core.training.repair_cases import CROP_PX, RepairCase

ZOOM = 2
COLUMNS = 2
GAP_PX, LEGEND_PX, CAPTION_PX, FONT_PX = 12, 28, 36, 12
LINE_PX = 2
"""Between the panels of a case."""
PAPER, INK = (32, 33, 36), (232, 234, 237)


def draw_repairs(cases: Sequence[RepairCase], ours: str, target: Path) -> None:
    """Write at least one case to the PNG `target`, two in a row, in their order; `ours`: what the third panel shows."""
    panel = CROP_PX * ZOOM
    count = len(cases[0].crops)
    width, height = count * (panel + LINE_PX) + GAP_PX, panel + CAPTION_PX + GAP_PX
    rows = -(-len(cases) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width + GAP_PX, rows * height + LEGEND_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), FONT_PX)
    draw.text((GAP_PX, GAP_PX // 2), f"before, Telea, {ours}, truth; at {100 * ZOOM} %", INK, font)
    for index, case in enumerate(cases):
        left, top = index % COLUMNS * width + GAP_PX, index // COLUMNS * height + LEGEND_PX
        for number, crop in enumerate(case.crops):
            enlarged = np.repeat(np.repeat(crop, ZOOM, axis=0), ZOOM, axis=1)
            sheet.paste(Image.fromarray(enlarged), (left + number * (panel + LINE_PX), top))
        for line, text in enumerate(case.caption):
            mark = f"{index + 1}  " if line == 0 else ""
            draw.text((left, top + panel + 2 + line * (FONT_PX + 3)), mark + text, INK, font)
    sheet.save(target)
