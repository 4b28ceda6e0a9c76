"""What the commands of `python -m spotless_core.training` do (cli.py reads their arguments).

Each takes its parsed arguments and yields the lines to be printed. Imports are made in the commands: `--help` loads
no torch, and `film-scan` needs no training package.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spotless_core.errors import MissingInputError, OptionsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def run_command(options: argparse.Namespace) -> Iterator[str]:
    """Run the command that `options` name; yields its lines as they come."""
    commands = {
        "detector": _train_detector,
        "inpainter": _train_inpainter,
        "preview": _preview,
        "evaluate": _evaluate,
        "variants": _variants,
        "export": _export,
        "film-scan": _film_scan,
    }
    return commands[options.command](options)


def _train_detector(options: argparse.Namespace) -> Iterator[str]:
    import torch

    from spotless_core.training.loop import train_detector
    from spotless_core.training.run_config import read_run, write_run_on

    if options.threads:
        torch.set_num_threads(options.threads)
    config = options.config
    if options.photos:
        config = write_run_on(options.photos, options.output or Path("runs") / options.photos.resolve().name)
        yield f"the run's settings: {config}"
    run = read_run(config)
    run.output.mkdir(parents=True, exist_ok=True)
    yield str(train_detector(run, options.device))


def _train_inpainter(options: argparse.Namespace) -> Iterator[str]:
    import torch

    from spotless_core.training.inpainter_loop import train_inpainter
    from spotless_core.training.run_config import read_inpainter_run

    if options.threads:
        torch.set_num_threads(options.threads)
    run = read_inpainter_run(options.config)
    run.output.mkdir(parents=True, exist_ok=True)
    yield str(train_inpainter(run, options.device))


def _preview(options: argparse.Namespace) -> Iterator[str]:
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
        holes = HoleBatches(training_photos(inpainter, color=True), real, inpainter, options.seed)
        write_hole_sheet(holes[0], None, options.output)
    else:
        detector = read_run(options.config)
        real = real_by_kind(detector, detector.real_scans)
        batches = FilmBatches(training_photos(detector), real, detector, options.seed, 32)
        grey, truth = batches[0]
        sheet(grey.numpy()[:, 0], truth.numpy()[:, 0], None, options.output)
    yield str(options.output)


def _evaluate(options: argparse.Namespace) -> Iterator[str]:
    if options.network == "inpainter":
        return _evaluate_inpainter(options)
    return _evaluate_detector(options)


def _evaluate_detector(options: argparse.Namespace) -> Iterator[str]:
    from spotless_core.options import DetectOptions
    from spotless_core.training.evaluate import evaluate_detector
    from spotless_core.training.evaluation_frames import Inspection
    from spotless_core.training.run_config import read_run

    for name in ("methods", "blind"):
        if getattr(options, name) is not None:
            raise OptionsError(f"evaluate --{name}: the inpainter's; give --network inpainter too.")
    run = read_run(options.config)
    tile_px = 1024 if options.tile_px is None else options.tile_px
    stride_px = tile_px // 2 if options.stride_px is None else options.stride_px
    resolution = 1.0 if options.resolution is None else options.resolution
    yield str(
        evaluate_detector(
            run,
            options.report,
            options.models,
            calibrate=options.calibrate,
            inspection=Inspection(DetectOptions(tile_px, stride_px), resolution),
            photos=options.photos,
        )
    )


def _evaluate_inpainter(options: argparse.Namespace) -> Iterator[str]:
    from spotless_core.training.repair_evaluation import evaluate_inpainter
    from spotless_core.training.run_config import read_inpainter_run

    given = [name for name in ("tile_px", "stride_px", "resolution") if getattr(options, name) is not None]
    given += ["calibrate"] if options.calibrate else []
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise OptionsError(f"evaluate {names}: the detector's; leave out --network inpainter, or these.")
    methods = None if options.methods is None else tuple(options.methods.split(","))
    blind = () if options.blind is None else tuple(options.blind.split(","))
    run = read_inpainter_run(options.config)
    yield str(
        evaluate_inpainter(run, options.report, options.models, photos=options.photos, methods=methods, blind=blind)
    )


def _variants(options: argparse.Namespace) -> Iterator[str]:
    from spotless_core.options import DeviceChoice, DeviceOptions

    device = DeviceOptions(DeviceChoice(options.device), threads=options.threads)
    if options.network == "inpainter":
        from spotless_core.training.inpainter_variants import compare_inpainters
        from spotless_core.training.run_config import read_inpainter_variants

        yield str(compare_inpainters(read_inpainter_variants(options.config, options.report), options.report, device))
    else:
        from spotless_core.training.run_config import read_variants
        from spotless_core.training.variants import compare_variants

        yield str(compare_variants(read_variants(options.config, options.report), options.report, device))


def _export(options: argparse.Namespace) -> Iterator[str]:
    if options.torchscript and options.network != "inpainter":
        raise OptionsError("export --torchscript: the inpainter's; give --network inpainter too.")
    if options.config is None and options.torchscript is None:
        raise OptionsError("export: --config of the run to export expected.")
    if options.config is not None:
        if options.models is None:
            raise OptionsError("export --config: --models, the folder to write into, expected.")
        yield str(_export_run(options))
    if options.torchscript is not None:
        from spotless_core.networks.weights import default_models_folder
        from spotless_core.training.torchscript import export_torchscript

        yield str(export_torchscript(options.models or default_models_folder(), options.torchscript))


def _export_run(options: argparse.Namespace) -> Path:
    from spotless_core.training.export import export_detector, export_inpainter
    from spotless_core.training.run_config import read_inpainter_run, read_run

    if options.network == "inpainter":
        return export_inpainter(read_inpainter_run(options.config), options.models)
    return export_detector(read_run(options.config), options.models)


def _film_scan(options: argparse.Namespace) -> Iterator[str]:
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
    yield f"{sum(element.is_visible for element in scan.elements)} visible of {len(scan.elements)} elements"


def _carried_photograph(name: str) -> "NDArray[np.uint8]":
    try:
        from skimage import data
    except ImportError as error:
        raise MissingInputError(f"{name}: no such file, and scikit-image is not installed.") from error
    if name not in {"astronaut", "coffee", "chelsea", "rocket"}:
        raise MissingInputError(f"{name}: no such file; scikit-image carries astronaut, coffee, chelsea and rocket.")
    photo: NDArray[np.uint8] = getattr(data, name)()
    return photo
