"""`spotless`: one photo, no daemon. restore, detect, and fetching optional models."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spotless_core.command_line import Parser
from spotless_core.errors import MissingInputError, OutputError, SpotlessError
from spotless_core.options import (
    DeviceChoice,
    DeviceOptions,
    FilmFormat,
    InpaintMethod,
    InpaintOptions,
    MaskFormat,
    MaskOptions,
    RestoreOptions,
    Sensitivity,
)

if TYPE_CHECKING:
    from spotless_core.edited import BaseVersion

TIFF_SUFFIXES = {".tif", ".tiff"}
EXIT_CODES = """\
exit codes: 0 ok · 64 wrong command line · 65 bad input · 66 no input · 69 device or model unavailable · 73 cannot
write"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns a sysexits code (see EXIT_CODES). A wrong line ends the process with EXIT_USAGE."""
    parser = _parser()
    options = parser.parse_args(arguments)
    given = [getattr(options, name, None) is not None for name in ("base", "base_mask")]
    if any(given) and (not all(given) or options.mask_in is None):
        parser.error("restore: --base needs --base-mask and --mask-in")
    try:
        return int(options.run(options))
    except SpotlessError as error:
        name = f"{options.input.name}: " if hasattr(options, "input") else ""
        print(f"spotless: {name}{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("spotless: stopped; nothing was written.", file=sys.stderr)
        return 130


def _parser() -> Parser:
    parser = Parser(prog="spotless", description="Remove dust, hairs and scratches from one scan.", epilog=EXIT_CODES)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = Parser(add_help=False)
    shared.add_argument(
        "input", type=Path, metavar="IN", help="a TIFF, DNG, PNG, JPEG, BMP or PNM scan; it is only read"
    )
    shared.add_argument("--device", choices=[d.value for d in DeviceChoice], default="auto")
    shared.add_argument("--sensitivity", choices=[s.value for s in Sensitivity], default="normal")
    shared.add_argument(
        "--film-format", choices=[f.value for f in FilmFormat], default="auto", help="if the dpi tag is wrong"
    )
    restore = commands.add_parser("restore", parents=[shared], help="write the restored scan to OUT")
    restore.add_argument("output", type=Path, metavar="OUT", help="same kind of file as IN; must not exist")
    restore.add_argument(
        "--mask-out", type=Path, metavar="PNG", help="write the mask (255 = repaired), as TIFF if named .tif"
    )
    restore.add_argument(
        "--mask-in", type=Path, metavar="PNG", help="repair exactly this mask (PNG or TIFF); nothing is detected"
    )
    restore.add_argument(
        "--base", type=Path, metavar="IMAGE", help="keep this earlier result's repairs where --mask-in has them too"
    )
    restore.add_argument("--base-mask", type=Path, metavar="PNG", help="the mask that --base was made with")
    restore.add_argument("--preview-out", type=Path, metavar="JPG", help="write before | after | mask")
    restore.add_argument("--receipt", type=Path, metavar="JSON", help="write the receipt")
    restore.add_argument("--inpaint", choices=[m.value for m in InpaintMethod], default="auto")
    restore.add_argument(
        "--allow-transcode", action="store_true", help="accept JPEG inside a TIFF; its repaired copy has Deflate"
    )
    restore.add_argument(
        "--allow-reencode", action="store_true", help="encode a whole JPEG anew where libturbojpeg is missing"
    )
    restore.add_argument("--big-lama", type=Path, metavar="PT", help="path of big-lama.pt for --inpaint lama-cleaner")
    restore.set_defaults(run=_restore)
    detect = commands.add_parser("detect", parents=[shared], help="write the mask that restore would use")
    detect.add_argument("mask", type=Path, metavar="MASK.png", help="the mask (255 = repair), as TIFF if named .tif")
    detect.add_argument("--probability", type=Path, metavar="P.tif", help="write the probability as float32 TIFF")
    detect.set_defaults(run=_detect)
    models = commands.add_parser("models", help="optional models").add_subparsers(dest="models_command", required=True)
    fetch = models.add_parser("fetch", help="download an optional model into lama-cleaner's cache, or to --to")
    fetch.add_argument("name", choices=["big-lama"])
    fetch.add_argument("--to", type=Path, default=None, metavar="PT")
    fetch.set_defaults(run=_fetch)
    return parser


def _restore_options(options: argparse.Namespace) -> RestoreOptions:
    inpaint = InpaintOptions(
        method=InpaintMethod(getattr(options, "inpaint", "auto")), big_lama_path=getattr(options, "big_lama", None)
    )
    mask = MaskOptions(sensitivity=Sensitivity(options.sensitivity))
    return RestoreOptions(
        mask=mask,
        inpaint=inpaint,
        film_format=FilmFormat(options.film_format),
        allow_transcode=getattr(options, "allow_transcode", False),
        allow_reencode=getattr(options, "allow_reencode", False),
        mask_format=_mask_format(getattr(options, "mask_out", None) or getattr(options, "mask", None)),
    )


def _mask_format(path: Path | None) -> MaskFormat:
    """The kind of mask that its file's name asks for."""
    return MaskFormat.TIFF if path is not None and path.suffix.lower() in TIFF_SUFFIXES else MaskFormat.PNG


def _check_paths(source: Path, targets: Iterable[Path]) -> None:
    """Raise before anything is loaded unless `source` is there and each of `targets` can be."""
    for path in targets:
        if path.exists():
            raise OutputError(f"{path} exists and is never overwritten. Choose another name.")
        if not path.parent.is_dir():
            raise OutputError(f"{path.parent}: no such folder. Create it first.")
    if not source.is_file():
        raise MissingInputError("no such file, or not a regular file.")


def _base(options: argparse.Namespace) -> "BaseVersion | None":
    """The earlier version that was named, which must be there."""
    from spotless_core.edited import BaseVersion

    if options.base is None:
        return None
    for path in (options.base, options.base_mask):
        if not path.is_file():
            raise MissingInputError(f"{path}: no such file, or not a regular file.")
    return BaseVersion(mask=options.base_mask, image=options.base, name=options.base.name)


def _restore(options: argparse.Namespace) -> int:
    targets = {
        "image": options.output,
        "mask": options.mask_out,
        "preview": options.preview_out,
        "receipt": options.receipt,
    }
    wanted = {role: path for role, path in targets.items() if path is not None}
    _check_paths(options.input, wanted.values())

    from spotless_core.pipeline import OutputPaths, load_tools, restore_photo

    base = _base(options)
    restore_options = _restore_options(options)
    tools = load_tools(DeviceOptions(DeviceChoice(options.device)), restore_options.inpaint)
    folder = options.output.parent
    parts = {role: folder / f".{options.output.name}.{role}.part" for role in ("image", "mask", "preview", "receipt")}
    try:
        receipt = restore_photo(
            options.input,
            OutputPaths(parts["image"], parts["mask"], parts["preview"]),
            tools,
            restore_options,
            given_mask=options.mask_in,
            base=base,
        )
        kept = {role: facts for role, facts in receipt.outputs.items() if role in wanted}
        receipt = replace(receipt, outputs=kept).with_output_names({role: wanted[role].name for role in kept})
        if "receipt" in wanted:
            parts["receipt"].write_text(json.dumps(receipt.to_dict(), indent=1) + "\n", encoding="utf-8")
        for role in [*kept, *(["receipt"] if "receipt" in wanted else [])]:
            _move(parts[role], wanted[role])
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    total, megapixels = receipt.seconds["total"], receipt.input.width * receipt.input.height / 1e6
    print(f"{len(receipt.defects)} defects, {receipt.coverage:.3%} of {megapixels:.1f} megapixels, {total:.1f} s, "
          f"{receipt.device} {receipt.precision}")  # fmt: skip
    for note in receipt.notes:
        print(note)
    if receipt.outcome == "held":
        print(
            f"spotless: {options.input.name}: not restored; look at the mask, then pass it with --mask-in.",
            file=sys.stderr,
        )
        return 65
    return 0


def _move(part: Path, target: Path) -> None:
    """Give a finished file its name, also across file systems, never over another file."""
    import os
    import shutil

    if part.stat().st_dev != target.parent.stat().st_dev:
        beside = target.parent / f".{target.name}.part"
        shutil.copyfile(part, beside)
        part.unlink()
        part = beside
    try:
        os.link(part, target)
        part.unlink()
    except FileExistsError as error:
        raise OutputError(f"{target} appeared meanwhile and is never overwritten.") from error
    except OSError:  # a file system without hard links
        part.rename(target)


def _detect(options: argparse.Namespace) -> int:
    _check_paths(options.input, [path for path in (options.mask, options.probability) if path is not None])

    from spotless_core.image_io.mask_file import write_mask
    from spotless_core.pipeline import detect_photo, load_tools

    restore_options = _restore_options(options)
    tools = load_tools(DeviceOptions(DeviceChoice(options.device)), InpaintOptions(method=InpaintMethod.TELEA))
    info, found = detect_photo(options.input, tools, restore_options, probability_path=options.probability)
    write_mask(options.mask, found.mask, info, restore_options.mask_format)
    print(f"{len(found.defects)} defects, {found.coverage:.3%} of the frame")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from spotless_core.inpainting.fetch import big_lama_cache_path, fetch_big_lama

    target = options.to or big_lama_cache_path()

    def show(done: int, total: int) -> None:
        share = f"{done / total:.0%}" if total else f"{done / 1e6:.0f} MB"
        print(f"\rbig-lama {share}", end="", file=sys.stderr, flush=True)

    path = fetch_big_lama(target, show)
    print(file=sys.stderr)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
