"""`python -m spotless_core.training`: train both networks, look at their synthetic film, evaluate, export."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spotless_core.command_line import Parser
from spotless_core.errors import ModelError, SpotlessError
from spotless_core.training.commands import run_command

NETWORKS = ("detector", "inpainter")
DEVICES = ("cpu", "cuda", "mps")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns a sysexits code. A wrong line ends the process with EXIT_USAGE."""
    parser = Parser(prog="python -m spotless_core.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for network in NETWORKS:
        _add_training(commands.add_parser(network, help=f"train the {network}, or go on with an interrupted run"))
    _add_preview(commands.add_parser("preview", help="write a sheet of synthetic samples with their truth"))
    _add_evaluate(commands.add_parser("evaluate", help="score an exported network on held-out photographs"))
    _add_variants(commands.add_parser("variants", help="compare networks: equal short runs, scores and times"))
    _add_export(commands.add_parser("export", help="write a run's averaged weights and manifest into a models folder"))
    _add_film_scan(commands.add_parser("film-scan", help="make a dusty 16-bit film scan from a photograph, with truth"))
    options = parser.parse_args(arguments)
    try:
        for line in run_command(options):
            print(line)
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
    return 0


def _add_training(train: argparse.ArgumentParser) -> None:
    network = train.prog.split()[-1]
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, help=f"a run's TOML, such as config/training/{network}.toml")
    if network == "detector":
        source.add_argument("--photos", type=Path, help="a folder of clean scans: train on these, all else default")
        train.add_argument("--output", type=Path, help="the run's folder, with --photos (default: runs/FOLDER)")
    _add_machine(train)


def _add_preview(preview: argparse.ArgumentParser) -> None:
    preview.add_argument("output", type=Path)
    preview.add_argument("--config", type=Path, required=True)
    preview.add_argument("--network", choices=NETWORKS, default="detector", help="whose run and samples")
    preview.add_argument("--seed", type=int, default=0)


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    evaluate.add_argument("--network", choices=NETWORKS, default="detector", help="which (default: detector)")
    evaluate.add_argument("--config", type=Path, required=True, help="the run whose held-out photographs are taken")
    evaluate.add_argument("--report", type=Path, required=True, help="folder for report.json and pictures")
    evaluate.add_argument(
        "--models", type=Path, default=None, help="folder with manifest.toml (default: the shipped one)"
    )
    evaluate.add_argument("--photos", type=int, default=None, help="only the first so many photographs")
    detector = evaluate.add_argument_group("the detector only")
    detector.add_argument(
        "--calibrate", action="store_true", help="also choose thresholds and write them to the manifest"
    )
    detector.add_argument("--tile-px", type=int, default=None, help="side of its tiles (default: 1024)")
    detector.add_argument("--stride-px", type=int, default=None, help="step of the tiles (default: half a tile)")
    detector.add_argument("--resolution", type=float, default=None, help="scale frames first (default: 1)")
    inpainter = evaluate.add_argument_group("the inpainter only")
    inpainter.add_argument(
        "--methods", default=None, metavar="A,B,C", help="methods of filling to compare (default: all that can run)"
    )
    inpainter.add_argument(
        "--blind", default=None, metavar="A,B", help="methods whose repairs a machine is to tell from untouched film"
    )


def _add_variants(variants: argparse.ArgumentParser) -> None:
    variants.add_argument("--network", choices=NETWORKS, default="detector", help="which (default: detector)")
    variants.add_argument(
        "--config", type=Path, required=True, help="such as config/training/variants.toml or inpainter-variants.toml"
    )
    variants.add_argument("--report", type=Path, required=True, help="folder for variants.md and the runs; resumable")
    _add_machine(variants)


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument(
        "--config", type=Path, help="the run; without it, what --models holds is written as --torchscript"
    )
    export.add_argument("--models", type=Path, help="folder with manifest.toml (without --config: the shipped one)")
    export.add_argument("--network", choices=NETWORKS, default="detector", help="whose run (default: detector)")
    export.add_argument(
        "--torchscript",
        type=Path,
        metavar="FILE",
        help="also write the inpainter as TorchScript, to be used as big-lama",
    )


def _add_film_scan(scan: argparse.ArgumentParser) -> None:
    scan.add_argument(
        "photo", help="an image file, or a photograph of scikit-image: astronaut, coffee, chelsea, rocket"
    )
    scan.add_argument("output", type=Path, metavar="OUT.tif")
    scan.add_argument("--truth", type=Path, metavar="PNG", help="write the mask of the visible dust")
    scan.add_argument("--clean", type=Path, metavar="TIF", help="write the same scan without dust")
    scan.add_argument("--size", default="4320x2880", metavar="WxH")
    scan.add_argument("--seed", type=int, default=1)


def _add_machine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", choices=DEVICES, default="cpu")
    command.add_argument("--threads", type=int, default=0, help="CPU threads, 0 = all cores")
