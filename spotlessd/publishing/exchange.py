"""Exchange the names of two versions of one scan: the newer gets the plain name, the older the newer one's number.

Comes in: what both versions have, by role. Goes out: the same files under each other's names, and receipts that tell
the new names. First every older file gets a second name aside; only then is anything renamed. So each step can be
repeated after a crash between any two, the plain name is never missing, and no bytes are lost. The caller keeps the
plan, and whether it was begun, in the ledger.
"""

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from spotlessd.crash_points import crash_point
from spotlessd.publishing.durable import cannot_write, sync_file, sync_folder

ASIDE = ".spotlessd-exchange-"
NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES}
RECEIPT = "receipt"


@dataclass(frozen=True, slots=True)
class Pair:
    """One role's two names, relative to the output folder. `is_newer`, `is_older`: which of the versions has it."""

    plain: str
    numbered: str
    is_newer: bool
    is_older: bool

    @property
    def aside(self) -> str:
        """The older file's second name meanwhile."""
        return _aside(self.numbered)


@dataclass(frozen=True, slots=True)
class ExchangePlan:
    """What is to be exchanged. `pairs`: of all roles but the receipt, which both have. `is_begun`: names may differ."""

    receipt: Pair
    pairs: tuple[Pair, ...]
    is_begun: bool = False

    def begun(self) -> "ExchangePlan":
        """Return it as it is once everything lies aside."""
        return replace(self, is_begun=True)

    @property
    def names(self) -> dict[str, str]:
        """Each name and what it becomes."""
        every = (*self.pairs, self.receipt)
        return {pair.plain: pair.numbered for pair in every} | {pair.numbered: pair.plain for pair in every}

    @property
    def moved(self) -> dict[str, str]:
        """Each name whose file goes to another name and leaves none behind, and what it becomes."""
        newer = {pair.numbered: pair.plain for pair in self.pairs if not pair.is_older}
        return newer | {pair.plain: pair.numbered for pair in self.pairs if not pair.is_newer}

    def to_values(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "ExchangePlan":
        """Return what `to_values` gave."""
        return cls(Pair(**values["receipt"]), tuple(Pair(**each) for each in values["pairs"]), values["is_begun"])


def plan_exchange(
    output: Path, plain_stem: str, newer: Mapping[str, str], older: Mapping[str, str]
) -> ExchangePlan | None:
    """Return how the versions' files (role → name) change their names; None if a name is in somebody's way.

    `older` has the names that begin with `plain_stem`, `newer` those with a number behind it.
    """
    number_stem = PurePosixPath(newer[RECEIPT]).stem
    pairs = []
    for role in dict.fromkeys((*newer, *older)):
        if role in newer:
            numbered = PurePosixPath(newer[role])
            plain = numbered.with_name(plain_stem + numbered.name.removeprefix(number_stem))
        else:
            plain = PurePosixPath(older[role])
            numbered = plain.with_name(number_stem + plain.name.removeprefix(plain_stem))
        is_newer, is_older = ((output / name).is_file() for name in (numbered, plain))
        if (is_newer and role not in newer) or (is_older and role not in older):
            return None  # a person's own file
        pairs.append(Pair(str(plain), str(numbered), is_newer, is_older))
    by_role = dict(zip(dict.fromkeys((*newer, *older)), pairs, strict=True))
    receipt = by_role.pop(RECEIPT)
    if not (receipt.is_newer and receipt.is_older):
        return None
    return ExchangePlan(receipt, tuple(by_role.values()))


def prepare(output: Path, plan: ExchangePlan, images: Mapping[str, str]) -> None:
    """Lay everything aside that will be renamed; nothing has another name yet. May be called again.

    `images`: sha256 of each version's image → what it will be called, for the receipts.

    Raises:
        PublishError: the disk or the folder does not allow it.
    """
    for pair in plan.pairs:
        if pair.is_newer and pair.is_older:
            _second_name(output / pair.plain, output / pair.aside)
    for target, source in ((plan.receipt.plain, plan.receipt.numbered), (plan.receipt.numbered, plan.receipt.plain)):
        _write(output / _aside(target), _renamed(output / source, plan.names, images))
    _sync(output, plan)
    crash_point("exchange.prepared")


def carry_out(output: Path, plan: ExchangePlan) -> None:
    """Rename what `prepare` laid aside. May be called again after a crash between any two steps.

    Raises:
        PublishError: the disk or the folder does not allow it.
    """
    for pair in plan.pairs:
        plain, numbered, aside = output / pair.plain, output / pair.numbered, output / pair.aside
        try:
            if pair.is_newer and pair.is_older:
                if aside.exists():
                    if numbered.exists():
                        numbered.replace(plain)
                        crash_point("exchange.newer_named")
                    aside.rename(numbered)
            elif pair.is_newer and numbered.exists() and not plain.exists():
                numbered.rename(plain)
            elif pair.is_older and plain.exists() and not numbered.exists():
                plain.rename(numbered)
        except OSError as error:
            raise cannot_write(plain, error) from error
        crash_point("exchange.pair_named")
    _sync(output, plan)
    for target in (plan.receipt.plain, plan.receipt.numbered):
        try:
            if (output / _aside(target)).exists():
                (output / _aside(target)).replace(output / target)
        except OSError as error:
            raise cannot_write(output / target, error) from error
        crash_point("exchange.receipt_named")
    _sync(output, plan)
    crash_point("exchange.all_synced")


def _aside(name: str) -> str:
    """Return a name in the same folder that nobody takes for a result or a receipt."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{ASIDE}{path.name}.aside"))


def _second_name(plain: Path, aside: Path) -> None:
    """Give a file a second name, or where there are no hard links a copy with it."""
    try:
        aside.unlink(missing_ok=True)
        try:
            os.link(plain, aside)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            shutil.copy2(plain, aside)
            with aside.open("rb") as file:
                sync_file(file.fileno())
    except OSError as error:
        raise cannot_write(aside, error) from error


def _renamed(path: Path, names: Mapping[str, str], images: Mapping[str, str]) -> bytes:
    """Return a receipt with its files, and the version it is based on, as they will be called.

    Earlier decisions keep the names that versions had then.
    """
    try:
        receipt = json.loads(path.read_text(encoding="utf-8"))
        for facts in receipt["outputs"].values():
            facts["name"] = names.get(facts["name"], facts["name"])
        base = receipt.get("based_on")
        if base:
            before, base["name"] = base["name"], images.get(base["sha256"], base["name"])
            for decision in receipt.get("decisions", [])[-1:]:
                decision["base"] = base["name"] if decision.get("base") == before else decision.get("base", "")
        return json.dumps(receipt, indent=2, ensure_ascii=False).encode()
    except OSError as error:
        raise cannot_write(path, error) from error
    except (AttributeError, KeyError, TypeError, ValueError):
        return path.read_bytes()  # not one of ours any more: kept as it is


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            sync_file(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def _sync(output: Path, plan: ExchangePlan) -> None:
    for folder in dict.fromkeys((output / pair.plain).parent for pair in (*plan.pairs, plan.receipt)):
        try:
            sync_folder(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
