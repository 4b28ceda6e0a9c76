"""The report of an evaluation: curves, JSON and page."""

import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spotless_core.detection.mask import MaskResult, Thresholds, describe_defects
from spotless_core.options import DetectOptions
from spotless_core.training.curves import draw_reliability
from spotless_core.training.evaluation_frames import Inspection
from spotless_core.training.evaluation_report import Calibration, EvaluationReport, SplitClean, SplitScores, write_json
from spotless_core.training.reliability import Bin, Reliability
from spotless_core.training.report_page import write_page
from spotless_core.training.scores import Counts, describe_clean, score_clean
from spotless_core.training.worst_cases import (
    GALLERIES,
)

CURVE = Reliability(0.1, 30, [Bin(0.0, 0.5, 20, 0.25, 0.2), Bin(0.5, 1.0, 10, 0.8, 0.5)])


def test_reliability_curves_are_drawn_beside_each_other(tmp_path: Path) -> None:
    draw_reliability({"pixels": CURVE}, tmp_path / "one.png")
    draw_reliability({"pixels": CURVE, "candidates": Reliability(0, 0, [])}, tmp_path / "two.png")

    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.size == (2 * one.size[0], one.size[1])
        assert len(set(one.convert("L").get_flattened_data())) > 50


@pytest.fixture
def report() -> EvaluationReport:
    counts = Counts(100, 80, 100, 50, 3, 2.0)
    counts.visible.update({("dust", "3-4"): 8, ("short_hair", ">20"): 4})
    counts.found.update({("dust", "3-4"): 6, ("short_hair", ">20"): 1})
    split = SplitScores(counts.scores(), {"slide": counts.scores()}, {"2400": counts.scores()})
    core = np.zeros((400, 400), bool)
    core[:9, :9] = True
    marked = MaskResult(core, core, describe_defects(core, None, 6.35), float(core.mean()), ())
    clean = score_clean([describe_clean("photo 7, slide, 2400 dpi", marked)])
    return EvaluationReport(
        weights="0123456789abcdef",
        inspection=Inspection(DetectOptions(512, 256), 0.5),
        photos=4,
        frames=12,
        detect_seconds_per_megapixel=1 / 3,
        thresholds={"normal": Thresholds(0.3, 0.15, 1.0, {"bias": 1.0})},
        scores={"normal": split},
        top_hat_oracle=split,
        clean={"normal": SplitClean(clean, {"slide": clean})},
        calibration=Calibration(CURVE, CURVE, None),
        cross_checked={"normal": counts.scores()},
    )


def test_the_json_holds_the_record_with_five_digits(report: EvaluationReport, tmp_path: Path) -> None:
    write_json(report, tmp_path / "report.json")

    read = json.loads((tmp_path / "report.json").read_text())
    assert read["detect_seconds_per_megapixel"] == 0.33333
    assert read["inspection"] == {"tiles": {"tile_px": 512, "stride_px": 256}, "resolution": 0.5}
    scores = read["scores"]["normal"]["by_film"]["slide"]
    assert scores["by_kind"] == {"dust": {"elements": 8, "recall": 0.75}, "short_hair": {"elements": 4, "recall": 0.25}}
    assert scores["by_contrast"][">20"] == {"elements": 4, "recall": 0.25}
    assert scores["false_per_mp"] == 1.5
    assert read["clean"]["normal"]["all"]["worst"][0]["name"] == "photo 7, slide, 2400 dpi"
    assert read["calibration"]["pixels"]["bins"][1] == {
        "start": 0.5,
        "end": 1.0,
        "count": 10,
        "mean_probability": 0.8,
        "observed_share": 0.5,
    }
    assert read["calibration"]["candidates"] is None


def test_a_report_holds_only_what_json_can_say(report: EvaluationReport, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a report holds"):
        write_json(replace(report, photos=Path()), tmp_path / "report.json")  # type: ignore[arg-type]
    write_json(replace(report, detect_seconds_per_megapixel=math.pi), tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["detect_seconds_per_megapixel"] == 3.1416


class Page(HTMLParser):
    """Tags that were opened and not closed, sources of pictures, cells of tables by row."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data


def test_the_page_shows_the_scores_and_links_only_pictures_beside_it(report: EvaluationReport, tmp_path: Path) -> None:
    write_page(report, ["false_alarms", "clean_frames"], tmp_path / "report.html")

    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.sources == ["reliability.png", "false_alarms.png", "clean_frames.png"]
    assert "script" not in page.tags
    assert text.count("<p>None.</p>") == len(GALLERIES) - 2
    pixels = ["0.615", "0.800", "0.500", "1.50"]
    assert ["normal", *pixels, "0.58", "0.75", "0.25"] in page.rows
    assert ["slide, normal", *pixels, "0.58", "0.75", "0.25"] in page.rows
    assert ["2400 dpi, top-hat oracle", *pixels, "0.58", "0.75", "0.25"] in page.rows
    assert ["elements", "", "", "", "", "12", "8", "4"] in page.rows
    assert ["normal", "", "0.75", "", "", "", "0.25"] in page.rows
    assert ["photo 7, slide, 2400 dpi, normal", "0.0506 %", "81", "0.0506 %", "81"] in page.rows
    assert ["all, normal", "1", "0 %", "0 %", "0.0506 %", "0.0506 %", "0.0506 %"] in page.rows
    assert ["all pixels that count", "0.1000", "30"] in page.rows


def test_every_table_of_the_page_has_rows_as_long_as_its_head(report: EvaluationReport, tmp_path: Path) -> None:
    write_page(report, [], tmp_path / "report.html")

    tables = (tmp_path / "report.html").read_text().split("<table>")[1:]

    assert len(tables) == 8
    for table in tables:
        head, *rows = Page("<table>" + table.split("</table>")[0] + "</table>").rows
        assert rows
        assert {len(row) for row in rows} == {len(head)}


def test_names_are_written_as_text_not_as_markup(report: EvaluationReport, tmp_path: Path) -> None:
    write_page(replace(report, weights="<b>&"), [], tmp_path / "report.html")

    assert "&lt;b&gt;&amp;" in (tmp_path / "report.html").read_text()
