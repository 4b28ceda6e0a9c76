"""The page of an evaluation of repairs: targets, figures as small tables, sheets of pictures; one HTML, no scripts.

The pictures lie beside it and are linked by name, so the folder can be moved as a whole.
"""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from spotless_core.training.repair_cases import RANDOM
from spotless_core.training.repair_report import MethodReport, RepairReport, Target
from spotless_core.training.repair_scores import CALM_SHARE, Grain, Quality
from spotless_core.training.report_page import STYLE, html_table

NOT_MEASURED = "–"


def write_repair_page(report: RepairReport, galleries: Sequence[str], path: Path) -> None:
    """Write the page to `path`. `galleries`: names of those whose sheet `NAME.png` lies beside it."""
    parts = [
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>Repair evaluation</title><style>{STYLE}</style></head><body>",
        "<h1>Repair evaluation</h1>",
        _setup(report),
        "<h2>Targets</h2>",
        *(_targets(report.methods[name].title, targets) for name, targets in report.targets.items()),
        "<h2>Methods</h2>",
        _methods(report),
        "<h2>Grain</h2>",
        _grain(report),
        _grain_costs(report),
        _blind(report),
        "<h2>Where</h2>",
        *_axes(report),
        *(_gallery(name) for name in galleries),
        "</body></html>\n",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _setup(report: RepairReport) -> str:
    weights = f"LaMa {report.weights[:12]}" if report.weights else "No LaMa"
    absent = "".join(f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in report.missing.items())
    return (
        f"<p>{escape(weights)}. {report.defects} visible defects on {report.frames} frames of {report.photos} "
        "photographs, under their true masks (penumbra grown by 2 px).</p>"
        "<p>Structure is what a 1.5 px low-pass of the whole frame keeps. The headline compares it with the film and "
        "its grain, where only a perfect repair has no error; beside it, with the picture without grain. Grain ratio "
        "and log-spectral distance compare a repair with the clean scan at the same place, where the picture's own "
        f"detail is less than {100 * CALM_SHARE:.0f} % of what passes for grain. The two methods that know the truth "
        "show what can be reached; they are pasted with a hard edge, which their distance holds.</p>"
        f"<ul>{absent}</ul>"
    )


def _targets(title: str, targets: Sequence[Target]) -> str:
    words = {True: "met", False: "not met", None: "not measured, or on too little"}
    rows = [(each.what, each.wanted, _number(each.value, 2), words[each.is_met]) for each in targets]
    return html_table(title, ("", "wanted", "measured", ""), rows)


def _methods(report: RepairReport) -> str:
    head = (
        "",
        "structure PSNR",
        "over Telea",
        "mean gain of a defect",
        "against the picture",
        "PSNR",
        "over-repair",
        "outside the mask, px",
        "s per 1000 defects",
    )
    rows = [
        (
            each.title,
            f"{each.all.structure_psnr:.2f}",
            f"{each.all.gain_db:+.2f}",
            f"{each.all.defect_gain_db:+.2f}",
            f"{each.all.picture_psnr:.2f}",
            f"{each.all.psnr:.2f}",
            f"{each.over_repair:.2f}",
            str(each.changed_outside_mask_px),
            f"{each.seconds_per_1000_defects:.2f}",
        )
        for each in report.methods.values()
    ]
    return html_table("All defects, dB", head, rows)


def _grain(report: RepairReport) -> str:
    any_method = next(iter(report.methods.values()))
    films = list(any_method.by["film"])
    head = ("", *(f"{film.replace('_', ' ')}, {what}" for film in films for what in ("ratio", "distance, dB")))
    parts = []
    picks: tuple[tuple[str, Callable[[Quality], Grain]], ...] = (
        ("On calm film: mean of the channels (worst)", lambda quality: quality.grain),
        ("On all film, the picture's detail included", lambda quality: quality.grain_and_detail),
    )
    for caption, pick in picks:
        counted = [pick(any_method.by["film"][film]) for film in films]
        rows = [("defects, windows", *(str(n) for each in counted for n in (each.defects, each.windows)))]
        for method in report.methods.values():
            grains = [pick(method.by["film"][film]) for film in films]
            rows.append((method.title, *(cell for grain in grains for cell in _grain_cells(grain))))
        parts.append(html_table(caption, head, rows))
    return "".join(parts)


def _grain_costs(report: RepairReport) -> str:
    if not report.grain_costs:
        return ""
    groups = list(next(iter(report.grain_costs.values())))
    rows = [
        (report.methods[name].title, *(_number(costs[group], 1) for group in groups))
        for name, costs in report.grain_costs.items()
    ]
    caption = "Error that putting grain back adds to the structure, as a PSNR in dB (more is better)"
    return html_table(caption, ("", *(group.replace("_", " ") for group in groups)), rows)


def _blind(report: RepairReport) -> str:
    if not report.blind:
        return ""
    films = list(next(iter(report.blind.values())).by_film)
    rows = [
        (
            report.methods[name].title,
            f"{each.told.accuracy:.2f} ({each.told.low:.2f} to {each.told.high:.2f})",
            f"{each.area_under_curve:.2f}",
            *(f"{each.by_film[film].accuracy:.2f}" if film in each.by_film else NOT_MEASURED for film in films),
            f"{each.told.count}",
        )
        for name, each in report.blind.items()
    ]
    caption = "Patches a machine tells right, on photographs it has not seen (0.5 = it cannot tell; 95 % interval)"
    head = ("", "all", "area under the curve", *(film.replace("_", " ") for film in films), "patches")
    return html_table(caption, head, rows)


def _grain_cells(grain: Grain) -> tuple[str, str]:
    return (
        f"{_number(grain.ratio, 2)} ({_number(grain.worst_ratio, 2)})",
        f"{_number(grain.distance_db, 2)} ({_number(grain.worst_distance_db, 2)})",
    )


def _axes(report: RepairReport) -> list[str]:
    any_method = next(iter(report.methods.values()))
    tables = []
    for axis, groups in any_method.by.items():
        counted = ("defects", *(str(quality.defects) for quality in groups.values()))
        rows = [counted, *((each.title, *_axis_cells(each, axis)) for each in report.methods.values())]
        caption = f"By {axis}: structure PSNR (over Telea), dB"
        tables.append(html_table(caption, ("", *(name.replace("_", " ") for name in groups)), rows))
    return tables


def _axis_cells(method: MethodReport, axis: str) -> list[str]:
    return [f"{quality.structure_psnr:.2f} ({quality.gain_db:+.2f})" for quality in method.by[axis].values()]


def _gallery(name: str) -> str:
    title = "Drawn by lot" if name == RANDOM else f"Worst repairs: {name.removeprefix('worst_').replace('_', ' ')}"
    return f"<h2>{escape(title)}</h2><img src={name}.png alt='{escape(title)}'>"


def _number(value: float | None, digits: int) -> str:
    return NOT_MEASURED if value is None else f"{value:.{digits}f}"
