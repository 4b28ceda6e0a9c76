"""`python -m spotless_core.training`: train the detector, look at its synthetic film, evaluate it, export it."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spotless_core.errors import MissingInputError, OptionsError, SpotlessError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns a sysexits code."""
    parser = argparse.ArgumentParser(prog="python -m spotless_core.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    detector = commands.add_parser("detector", help="train the detector, or go on with an interrupted run")
    detector.add_argument(
        "--config", type=Path, required=True, help="a run's TOML, such as config/training/detector.toml"
    )
    detector.add_argument("--device", choices=["cpu", "cuda", "mps"], default="cpu")
    detector.add_argument("--threads", type=int, default=0, help="CPU threads, 0 = all cores")
    preview = commands.add_parser("preview", help="write a sheet of synthetic samples with their truth")
    preview.add_argument("output", type=Path)
    preview.add_argument("--config", type=Path, required=True)
    preview.add_argument("--seed", type=int, default=0)
    evaluate = commands.add_parser("evaluate", help="score the exported detector on held-out photographs")
    evaluate.add_argument("--config", type=Path, required=True)
    evaluate.add_argument("--report", type=Path, required=True, help="folder for report.json and pictures")
    evaluate.add_argument(
        "--models", type=Path, default=None, help="folder with manifest.toml (default: the shipped one)"
    )
    evaluate.add_argument(
        "--calibrate", action="store_true", help="also choose thresholds and write them to the manifest"
    )
    export = commands.add_parser("export", help="write a run's averaged weights and manifest into a models folder")
    export.add_argument("--config", type=Path, required=True)
    export.add_argument("--models", type=Path, required=True)
    scan = commands.add_parser("film-scan", help="make a dusty 16-bit film scan from a photograph, with its truth")
    scan.add_argument(
        "photo", help="an image file, or a photograph of scikit-image: astronaut, coffee, chelsea, rocket"
    )
    scan.add_argument("output", type=Path, metavar="OUT.tif")
    scan.add_argument("--truth", type=Path, metavar="PNG", help="write the mask of the visible dust")
    scan.add_argument("--clean", type=Path, metavar="TIF", help="write the same scan without dust")
    scan.add_argument("--size", default="4320x2880", metavar="WxH")
    scan.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except SpotlessError as error:
        print(f"spotless_core.training: {error}", file=sys.stderr)
        return error.exit_code


def _film_scan(options: argparse.Namespace) -> int:
    import numpy as np
    from PIL import Image

    from spotless_core.training.film_scan import make_film_scan, write_scanner_tiff

    match = re.fullmatch(r"(\d+)x(\d+)", options.size)
    if match is None:
        raise OptionsError(f"--size {options.size}: WIDTHxHEIGHT expected, such as 4320x2880.")
    width, height = int(match[1]), int(match[2])
    if Path(options.photo).is_file():
        with Image.open(options.photo) as picture:
            photo = np.asarray(picture.convert("RGB"))
    else:
        photo = _carried_photograph(options.photo)
    scan = make_film_scan(photo, height, width, options.seed)
    write_scanner_tiff(options.output, scan.dusty)
    if options.clean:
        write_scanner_tiff(options.clean, scan.clean)
    if options.truth:
        Image.fromarray(scan.truth.astype(np.uint8) * np.uint8(255)).save(options.truth, format="PNG")
    print(f"{sum(element.is_visible for element in scan.elements)} visible of {len(scan.elements)} elements")
    return 0


def _carried_photograph(name: str) -> "NDArray[np.uint8]":
    try:
        from skimage import data
    except ImportError as error:
        raise MissingInputError(f"{name}: no such file, and scikit-image is not installed.") from error
    if name not in {"astronaut", "coffee", "chelsea", "rocket"}:
        raise MissingInputError(f"{name}: no such file; scikit-image carries astronaut, coffee, chelsea and rocket.")
    photo: NDArray[np.uint8] = getattr(data, name)()
    return photo


def _run(options: argparse.Namespace) -> int:
    if options.command == "film-scan":
        return _film_scan(options)
    from spotless_core.training.run_config import read_run

    run = read_run(options.config)
    if options.command == "detector":
        import torch

        from spotless_core.training.loop import train_detector

        if options.threads:
            torch.set_num_threads(options.threads)
        run.output.mkdir(parents=True, exist_ok=True)
        print(train_detector(run, options.device))
    elif options.command == "preview":
        from spotless_core.training.curves import sheet
        from spotless_core.training.dataset import load_photos
        from spotless_core.training.loop import FilmBatches, real_by_kind

        batches = FilmBatches(load_photos(run.photos), real_by_kind(run, run.real_scans), run, options.seed, 32)
        grey, truth = batches[0]
        sheet(grey.numpy()[:, 0], truth.numpy()[:, 0], None, options.output)
        print(options.output)
    elif options.command == "evaluate":
        from spotless_core.training.evaluate import evaluate_detector

        print(evaluate_detector(run, options.report, options.models, calibrate=options.calibrate))
    else:
        from spotless_core.training.export import export_detector

        print(export_detector(run, options.models))
    return 0
