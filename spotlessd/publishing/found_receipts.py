"""What the receipts in an output folder say was done: the ledger is rebuilt from them, and checked against them.

A ledger may be lost, or be an older one: put back from a backup, or without its last commits. Then files are offered
again whose results lie there; a receipt, which is written last, says so, and nothing is done twice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loguru import logger

from spotlessd.companions.companion_copy import found_companions
from spotlessd.folders.roots import Root
from spotlessd.job import Identity, JobState
from spotlessd.ledger import FoundScan
from spotlessd.publish import read_receipt
from spotlessd.publishing.result_files import FOLDERS, final_names

RECEIPT_ERRORS = (KeyError, TypeError, ValueError, AttributeError)


def found_scans(root: Root) -> Iterator[FoundScan]:
    """Yield what the receipts in a root's output folder say was done for this root."""
    for path in sorted((root.output / FOLDERS["receipt"]).rglob("*.json")):
        receipt = read_receipt(path)
        if not _is_of(root, receipt):
            continue
        try:
            yield from _scans_in(receipt, root, path)
        except RECEIPT_ERRORS:
            logger.warning("{}: not one of our receipts; left out", path)


def results_of(root: Root, identity: Identity) -> list[FoundScan]:
    """Return what was done for this very file, with its companions, by the receipts of its name; usually nothing."""
    number = 1
    while (path := root.output / final_names(identity.rel, number)["receipt"]).exists():
        receipt = read_receipt(path)
        if _is_of(root, receipt):
            try:
                scans = list(_scans_in(receipt, root, path))
            except RECEIPT_ERRORS:
                scans = []
            if any(scan.identity == identity for scan in scans):
                return scans
        number += 1
    return []


def _is_of(root: Root, receipt: dict[str, Any]) -> bool:
    station = receipt.get("station")
    return isinstance(station, dict) and station.get("root") == root.name


def _scans_in(receipt: dict[str, Any], root: Root, path: Path) -> Iterator[FoundScan]:
    station = receipt["station"]
    identity = Identity(root.name, str(station["rel"]), int(station["size"]), int(station["mtime_ns"]))
    outputs = {role: str(facts["name"]) for role, facts in receipt["outputs"].items()}
    outputs["receipt"] = path.relative_to(root.output).as_posix()
    state = JobState.HELD if receipt.get("outcome") == "held" else JobState.DONE
    yield FoundScan(identity, str(station["recipe"]), state, str(receipt["input"]["sha256"]), outputs)
    yield from found_companions(receipt)
