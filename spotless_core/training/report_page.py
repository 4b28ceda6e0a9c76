"""The page of an evaluation: its scores as small tables and its sheets of pictures, in one HTML without scripts.

The pictures lie beside it and are linked by name, so the folder can be moved as a whole.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from spotless_core.training.evaluation_report import Calibration, EvaluationReport, SplitClean
from spotless_core.training.scores import CONTRAST_BANDS, MAX_CLEAN_AREA_PX, MAX_CLEAN_COVERAGE, Found, Scores
from spotless_core.training.worst_cases import GALLERIES

ORACLE = "top-hat oracle"
PIXEL_HEAD = ("F1", "precision", "recall", "false per MP", "objects")
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 96rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; }
.scroll { overflow-x: auto; }
img { max-width: 100%; height: auto; }
"""

Row = Sequence[str]


def write_page(report: EvaluationReport, pictures: Sequence[str], path: Path) -> None:
    """Write the page to `path`. `pictures`: names of the galleries whose sheet `NAME.png` lies beside it."""
    parts = [
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>Detector evaluation</title><style>{STYLE}</style></head><body>",
        "<h1>Detector evaluation</h1>",
        _setup(report),
        _score_tables(report),
        _contrast_table(report),
        _clean_tables(report.clean),
        _calibration(report.calibration),
        *(_gallery(name, has_picture=name in pictures) for name in GALLERIES),
        "</body></html>\n",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _setup(report: EvaluationReport) -> str:
    tiles = report.inspection.tiles
    return (
        f"<p>Weights {escape(report.weights[:12])}. {report.frames} frames of {report.photos} photographs. "
        f"Tiles of {tiles.tile_px} px, stride {tiles.stride_px} px, frames scaled by {report.inspection.resolution:g} "
        f"before detection, {report.detect_seconds_per_megapixel:.2f} s per megapixel.</p>"
        "<p>Pixels are counted before growth with one pixel of tolerance. An element is found when a quarter of it is "
        "marked; what a person can hardly see counts neither way. The oracle knows the best threshold of every "
        "frame.</p>"
    )


def _score_tables(report: EvaluationReport) -> str:
    split = report.scores | {ORACLE: report.top_hat_oracle}
    kinds = report.top_hat_oracle.all.by_kind
    head = ("", *PIXEL_HEAD, *(_words(kind) for kind in kinds))
    counted = ("elements", *[""] * (len(PIXEL_HEAD) - 1), str(report.top_hat_oracle.all.objects.elements))
    first: list[Row] = [(*counted, *(str(found.elements) for found in kinds.values()))]
    first += [_score_row(name, each.all, kinds) for name, each in split.items()]
    films = [
        _score_row(f"{_words(film)}, {name}", each.by_film[film], kinds)
        for film in report.top_hat_oracle.by_film
        for name, each in split.items()
    ]
    resolutions = [
        _score_row(f"{dpi} dpi, {name}", each.by_dpi[dpi], kinds)
        for dpi in report.top_hat_oracle.by_dpi
        for name, each in split.items()
    ]
    crossed = [_score_row(name, scores, kinds) for name, scores in report.cross_checked.items()]
    tables = {
        "All frames; objects found, also by kind": first,
        "By film type": films,
        "By resolution of the scan": resolutions,
        "Each half of the photographs with thresholds chosen on the other": crossed,
    }
    return "<h2>Scores</h2>" + "".join(html_table(title, head, rows) for title, rows in tables.items() if rows)


def _score_row(name: str, scores: Scores, kinds: Iterable[str]) -> Row:
    pixels = (f"{value:.3f}" for value in (scores.f1, scores.precision, scores.recall))
    found = (_recall(scores.by_kind.get(kind)) for kind in kinds)
    return (name, *pixels, f"{scores.false_per_mp:.2f}", _recall(scores.objects), *found)


def _contrast_table(report: EvaluationReport) -> str:
    split = report.scores | {ORACLE: report.top_hat_oracle}
    bands = [name for name, _ in CONTRAST_BANDS]
    elements = report.top_hat_oracle.all.by_contrast
    rows: list[Row] = [("elements", *(str(elements[b].elements) if b in elements else "0" for b in bands))]
    rows += [(name, *(_recall(s.all.by_contrast.get(band)) for band in bands)) for name, s in split.items()]
    return html_table(
        "Objects found by contrast, in standard deviations of grain and texture around", ("", *bands), rows
    )


def _clean_tables(clean: dict[str, SplitClean]) -> str:
    head = (
        "",
        "frames",
        "within limits, grown mask",
        "within limits, before growth",
        "mean coverage",
        "worst coverage",
        "mean before growth",
    )
    rows = []
    for sensitivity, split in clean.items():
        for name, scores in (("all", split.all), *split.by_film.items()):
            shares = (scores.share_within_limits, scores.core_share_within_limits)
            coverages = (scores.mean_coverage, scores.worst_coverage, scores.core_mean_coverage)
            shown = (*(f"{100 * x:.0f} %" for x in shares), *(f"{100 * x:.4f} %" for x in coverages))
            rows.append((f"{_words(name)}, {sensitivity}", str(scores.frames), *shown))
    worst = [
        (
            f"{_words(frame.name)}, {sensitivity}",
            f"{100 * frame.coverage:.4f} %",
            str(frame.largest_px),
            f"{100 * frame.core_coverage:.4f} %",
            str(frame.core_largest_px),
        )
        for sensitivity, split in clean.items()
        for frame in split.all.worst
    ]
    worst_head = ("", "coverage", "largest piece, px", "before growth", "largest before growth, px")
    limits = f"{100 * MAX_CLEAN_COVERAGE:g} % of the frame and no piece over {MAX_CLEAN_AREA_PX} px"
    tables = html_table(f"Limits: {limits}", head, rows) + html_table("Worst frames", worst_head, worst)
    return "<h2>Frames without dust</h2>" + tables


def _calibration(calibration: Calibration) -> str:
    curves = {
        "pixels not surely clean": calibration.pixels,
        "all pixels that count": calibration.all_pixels,
        "candidates, by their evidence": calibration.candidates,
    }
    rows = [(n, f"{curve.error:.4f}", str(curve.count)) for n, curve in curves.items() if curve is not None]
    table = html_table("", ("", "expected calibration error", "count"), rows)
    return f"<h2>Calibration</h2>{table}<img src=reliability.png alt='Reliability curves'>"


def _gallery(name: str, *, has_picture: bool) -> str:
    title = GALLERIES[name]
    shown = f"<img src={name}.png alt='{escape(title)}'>" if has_picture else "<p>None.</p>"
    return f"<h2>{escape(title)}</h2>{shown}"


def html_table(caption: str, head: Row, rows: Iterable[Row]) -> str:
    """Return one table as HTML, every cell escaped; "" as `caption` for none."""
    lines = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    top = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<div class=scroll><table>{title}<thead>{top}</thead><tbody>{''.join(lines)}</tbody></table></div>"


def _recall(found: Found | None) -> str:
    return "" if found is None else f"{found.recall:.2f}"


def _words(name: str) -> str:
    return name.replace("_", " ")
