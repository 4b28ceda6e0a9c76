"""`python -m spotless_core.training`: train both networks, look at their synthetic film, evaluate, export."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spotless_core.errors import MissingInputError, ModelError, OptionsError, SpotlessError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NETWORKS = ("detector", "inpainter")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns a sysexits code."""
    parser = argparse.ArgumentParser(prog="python -m spotless_core.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for network in NETWORKS:
        train = commands.add_parser(network, help=f"train the {network}, or go on with an interrupted run")
        source = train.add_mutually_exclusive_group(required=True)
        source.add_argument("--config", type=Path, help=f"a run's TOML, such as config/training/{network}.toml")
        if network == "detector":
            source.add_argument("--photos", type=Path, help="a folder of clean scans: train on these, all else default")
            train.add_argument("--output", type=Path, help="the run's folder, with --photos (default: runs/FOLDER)")
        train.add_argument("--device", choices=["cpu", "cuda", "mps"], default="cpu")
        train.add_argument("--threads", type=int, default=0, help="CPU threads, 0 = all cores")
    preview = commands.add_parser("preview", help="write a sheet of synthetic samples with their truth")
    preview.add_argument("output", type=Path)
    preview.add_argument("--config", type=Path, required=True)
    preview.add_argument("--network", choices=NETWORKS, default="detector", help="whose run and samples")
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
    evaluate.add_argument("--tile-px", type=int, default=1024, help="side of the detector's tiles (default: 1024)")
    evaluate.add_argument("--stride-px", type=int, default=None, help="step of the tiles (default: half a tile)")
    evaluate.add_argument(
        "--resolution", type=float, default=1.0, help="scale frames by this before detection (default: 1)"
    )
    evaluate.add_argument("--photos", type=int, default=None, help="only the first so many photographs")
    variants = commands.add_parser("variants", help="compare U-Nets: equal short runs, F1, time per tile, in one table")
    variants.add_argument("--config", type=Path, required=True, help="such as config/training/variants.toml")
    variants.add_argument("--report", type=Path, required=True, help="folder for variants.md and the runs; resumable")
    variants.add_argument("--device", choices=["cpu", "cuda", "mps"], default="cpu")
    variants.add_argument("--threads", type=int, default=0, help="CPU threads, 0 = all cores")
    export = commands.add_parser("export", help="write a run's averaged weights and manifest into a models folder")
    export.add_argument("--config", type=Path, required=True)
    export.add_argument("--models", type=Path, required=True)
    export.add_argument("--network", choices=NETWORKS, default="detector", help="whose run")
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
    except ModuleNotFoundError as error:
        if error.name not in {"matplotlib", "tqdm"}:
            raise
        print(
            f"spotless_core.training: {error.name} is not installed. Type: pip install 'spotlessd[train]'",
            file=sys.stderr,
        )
        return ModelError.exit_code
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
    commands = {"film-scan": _film_scan, "preview": _preview, "evaluate": _evaluate, "export": _export}
    commands["variants"] = _variants
    return commands.get(options.command, _train)(options)


def _train(options: argparse.Namespace) -> int:
    import torch

    from spotless_core.training.inpainter_loop import train_inpainter
    from spotless_core.training.loop import train_detector
    from spotless_core.training.run_config import read_inpainter_run, read_run, write_run_on

    if options.threads:
        torch.set_num_threads(options.threads)
    if options.command == "inpainter":
        inpainter = read_inpainter_run(options.config)
        inpainter.output.mkdir(parents=True, exist_ok=True)
        print(train_inpainter(inpainter, options.device))
    else:
        config = options.config
        if options.photos:
            config = write_run_on(options.photos, options.output or Path("runs") / options.photos.resolve().name)
            print(f"the run's settings: {config}")
        detector = read_run(config)
        detector.output.mkdir(parents=True, exist_ok=True)
        print(train_detector(detector, options.device))
    return 0


def _preview(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from spotless_core.training.batches import real_by_kind, training_photos
    from spotless_core.training.curves import sheet
    from spotless_core.training.inpainter_dataset import HoleBatches
    from spotless_core.training.inpainter_loop import write_hole_sheet
    from spotless_core.training.loop import FilmBatches
    from spotless_core.training.run_config import read_inpainter_run, read_run

    if options.network == "inpainter":
        inpainter = replace(read_inpainter_run(options.config), batch=32)
        real = real_by_kind(inpainter, inpainter.real_scans)
        holes = HoleBatches(training_photos(inpainter), real, inpainter, options.seed)
        write_hole_sheet(holes[0], None, options.output)
    else:
        detector = read_run(options.config)
        real = real_by_kind(detector, detector.real_scans)
        batches = FilmBatches(training_photos(detector), real, detector, options.seed, 32)
        grey, truth = batches[0]
        sheet(grey.numpy()[:, 0], truth.numpy()[:, 0], None, options.output)
    print(options.output)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from spotless_core.options import DetectOptions
    from spotless_core.training.evaluate import evaluate_detector
    from spotless_core.training.evaluation_frames import Inspection
    from spotless_core.training.run_config import read_run

    run = read_run(options.config)
    stride_px = options.tile_px // 2 if options.stride_px is None else options.stride_px
    inspection = Inspection(DetectOptions(options.tile_px, stride_px), options.resolution)
    path = evaluate_detector(
        run,
        options.report,
        options.models,
        calibrate=options.calibrate,
        inspection=inspection,
        photos=options.photos,
    )
    print(path)
    return 0


def _variants(options: argparse.Namespace) -> int:
    from spotless_core.options import DeviceChoice, DeviceOptions
    from spotless_core.training.run_config import read_variants
    from spotless_core.training.variants import compare_variants

    runs = read_variants(options.config, options.report)
    device = DeviceOptions(DeviceChoice(options.device), threads=options.threads)
    print(compare_variants(runs, options.report, device))
    return 0


def _export(options: argparse.Namespace) -> int:
    from spotless_core.training.export import export_detector, export_inpainter
    from spotless_core.training.run_config import read_inpainter_run, read_run

    if options.network == "inpainter":
        print(export_inpainter(read_inpainter_run(options.config), options.models))
    else:
        print(export_detector(read_run(options.config), options.models))
    return 0
