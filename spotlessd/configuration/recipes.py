"""What pixels come out: the recipe, a number over the options and the weights. Two equal ones make equal results."""

import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict

from spotless_core.options import RestoreOptions
from spotlessd.errors import DaemonError
from spotlessd.packaged import packaged_file

NO_PIXELS = ("max_megapixels", "preview_long_side_px", "mask_format", "allow_reencode", "allow_transcode")
"""Options that change no pixel of a scan that came through without them."""
DIGITS = 12


def recipe_of(options: RestoreOptions, *, has_big_lama: bool) -> str:
    """Return 12 hex digits over everything that changes pixels: the options and the shipped weights.

    Left out: where big-lama lies (a moved file changes nothing), limits, preview, mask format, which scans are refused.
    """
    values = asdict(options)
    for name in NO_PIXELS:
        del values[name]
    del values["inpaint"]["max_hole_um"], values["inpaint"]["max_seconds"]
    values["inpaint"]["big_lama_path"] = has_big_lama
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode())
    digest.update(b"\0" + weights_fingerprint().encode())
    return digest.hexdigest()[:DIGITS]


def weights_fingerprint() -> str:
    """Return the checksums of the shipped weights, or "" if this installation has none."""
    try:
        manifest = tomllib.loads(packaged_file("models", "manifest.toml").read_text(encoding="utf-8"))
    except DaemonError:
        return ""
    return " ".join(sorted(_checksums(manifest)))


def _checksums(value: object) -> Iterator[str]:
    """Yield every `sha256` in the manifest, however its tables are laid out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "sha256":
                yield str(inner)
            else:
                yield from _checksums(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _checksums(inner)
