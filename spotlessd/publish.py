"""Give finished part files their final names: never over an existing file, never by half, never twice.

The child has written and synced the parts. Here a plan is made (which part gets which name), the caller commits it to
the ledger, and `carry_out` does it step by step: image, the companions copied beside it (companion_copy.py), mask,
preview, then the receipt as the mark that all is there.
Every step can be repeated after a crash between any two of them: a part that is gone and a final name with the planned
bytes is a step already done. The caller's ledger and the parts' names (job and attempt) keep attempts apart.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from spotlessd.crash_points import crash_point
from spotlessd.errors import PublishError
from spotlessd.publishing.durable import cannot_write, remove_part, stamp, sync_file, sync_folder
from spotlessd.publishing.result_files import FOLDERS, PART_NAME, USUAL_NAMES, Naming, Parts, final_names, part_paths

NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES}
HASH_CHUNK_BYTES = 1 << 20


class NameTakenError(PublishError):
    """Somebody else's file took a planned name; another plan is needed."""


class PartLostError(PublishError):
    """A part is gone and its final name does not hold its bytes: the job has to be done again."""


@dataclass(frozen=True, slots=True)
class Step:
    """One file to be named. `part`, `final`: relative to the output folder, with slashes."""

    role: str
    part: str
    final: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """All names one result will get, in order; the receipt is last."""

    steps: tuple[Step, ...]

    def to_json(self) -> str:
        """Return it as the ledger keeps it."""
        return json.dumps([asdict(step) for step in self.steps])

    @classmethod
    def from_json(cls, text: str) -> "PublishPlan":
        """Return the plan that `to_json` wrote."""
        return cls(tuple(Step(**step) for step in json.loads(text)))

    @property
    def names(self) -> dict[str, str]:
        """The final names by role, relative to the output folder."""
        return {step.role: step.final for step in self.steps}


def planned_parts(output: Path, rel: str, plan: PublishPlan) -> Parts:
    """Return the part files of the attempt that a plan was made for."""
    _, job_id, attempt, _ = PurePosixPath(plan.steps[-1].part).name.split("-")
    planned = {step.role: output / step.part for step in plan.steps}
    companions = {role: part for role, part in planned.items() if role not in FOLDERS}
    usual = part_paths(output, rel, int(job_id), int(attempt)).by_role()
    image, mask, preview, receipt = (planned.get(role, usual[role]) for role in FOLDERS)
    return Parts(image, mask, preview, receipt, companions)


def planned_endings(plan: PublishPlan) -> dict[str, str]:
    """Return by role what follows the result's stem in the names of a plan's companions."""
    stem = PurePosixPath(plan.names["receipt"]).stem
    return {
        step.role: PurePosixPath(step.final).name.removeprefix(stem) for step in plan.steps if step.role not in FOLDERS
    }


def make_folders(output: Path, rel: str) -> None:
    """Make the folders of one scan's results under `output`, which must be there itself.

    Raises:
        PublishError: the output folder is away or cannot be written.
    """
    if not output.is_dir():
        raise PublishError(f"{output}: the output folder is not there. Mount or make it.")
    for part in part_paths(output, rel, 0, 0).by_role().values():
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            _refuse_closed(part.parent)
        except OSError as error:
            raise cannot_write(part.parent, error) from error


def _refuse_closed(folder: Path) -> None:
    """Raise what writing would raise, before a scan was worked on for nothing."""
    if not os.access(folder, os.W_OK | os.X_OK):
        is_read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        number = errno.EROFS if is_read_only else errno.EACCES
        raise OSError(number, os.strerror(number))


def make_plan(
    output: Path,
    rel: str,
    parts: Parts,
    receipt: Mapping[str, Any],
    naming: Naming = USUAL_NAMES,
    timestamp_ns: int | None = None,
) -> PublishPlan:
    """Choose the first free name, write the receipt's part with it, and return what `carry_out` has to do.

    `receipt`: its JSON values; `outputs` names the roles that exist, with their sha256. `timestamp_ns`: the time of
    change that image, mask, preview and receipt get, nanoseconds since the epoch; None leaves it now. After this every
    part is on disk, in a synced folder.

    Raises:
        PublishError: the receipt cannot be written.
    """
    number = 1
    while any(os.path.lexists(output / name) for name in final_names(rel, number, naming).values()):
        number += 1
    names = final_names(rel, number, naming)
    outputs = {
        role: {"name": names[role], "sha256": facts["sha256"]}
        for role, facts in receipt["outputs"].items()
        if role in names
    }
    text = json.dumps({**receipt, "outputs": outputs}, indent=2, ensure_ascii=False).encode()
    paths = parts.by_role()
    try:
        with parts.receipt.open("wb") as file:
            file.write(text)
            file.flush()
            sync_file(file.fileno())
        crash_point("publish.receipt_written")
        if timestamp_ns is not None:
            for role in FOLDERS:
                if role in outputs or role == "receipt":
                    stamp(paths[role], timestamp_ns)
        for folder in _folders_down_to(output, paths.values()):
            sync_folder(folder)
    except OSError as error:
        raise cannot_write(parts.receipt, error) from error
    checksums = {role: str(facts["sha256"]) for role, facts in outputs.items()}
    checksums["receipt"] = hashlib.sha256(text).hexdigest()
    crash_point("publish.parts_synced")
    return PublishPlan(
        tuple(
            Step(role, part.relative_to(output).as_posix(), names[role], checksums[role])
            for role, part in paths.items()
            if role in checksums
        )
    )


def carry_out(output: Path, plan: PublishPlan) -> None:
    """Give every part its name; may be called again after a crash at any point.

    Raises:
        NameTakenError: another file has one of the names; `take_back`, then make a new plan.
        PartLostError: the work has to be done again; `take_back` first.
        PublishError: the disk or the folder does not allow it.
    """
    for step in plan.steps:
        if step.role == "receipt":
            _sync_folders(output, plan)
            crash_point("publish.folders_synced")
        part, final = output / step.part, output / step.final
        try:
            _name(part, final, step.sha256)
        except OSError as error:
            raise cannot_write(final, error) from error
        crash_point(f"publish.{step.role}_named")
    _sync_folders(output, plan)
    crash_point("publish.all_synced")


def take_back(output: Path, plan: PublishPlan) -> None:
    """Turn the names this plan has given back into parts; files that are not ours are left alone.

    Raises:
        PublishError: the folder does not allow it.
    """
    for step in reversed(plan.steps):
        part, final = output / step.part, output / step.final
        try:
            if _is_ours(part, final, step.sha256):
                if not part.exists():
                    final.rename(part)
                else:
                    final.unlink()
        except OSError as error:
            raise cannot_write(final, error) from error
    _sync_folders(output, plan)


def drop_parts(parts: Parts) -> None:
    """Remove what an attempt left behind."""
    for part in parts.by_role().values():
        remove_part(part)


def stale_parts(output: Path, plans: list[PublishPlan]) -> Iterator[Path]:
    """Yield the part files under `output` that no plan needs. Only right while no child works."""
    needed = {output / step.part for plan in plans for step in plan.steps}
    for folder, _, names in os.walk(output):
        for name in names:
            path = Path(folder) / name
            if PART_NAME.match(name) and path not in needed:
                yield path


def read_receipt(path: Path) -> dict[str, Any]:
    """Return a receipt's JSON values; empty if it is not a receipt."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _folders_down_to(output: Path, files: Iterable[Path]) -> list[Path]:
    """Return the folders of `files` and those above them as far as `output`: an earlier run may have made any of them,
    and died before its name was on disk.
    """
    folders: dict[Path, None] = {}
    for file in files:
        for folder in file.parents:
            folders[folder] = None
            if folder == output:
                break
    return list(folders)


def _sync_folders(output: Path, plan: PublishPlan) -> None:
    for folder in dict.fromkeys((output / step.final).parent for step in plan.steps):
        try:
            sync_folder(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error


def _name(part: Path, final: Path, sha256: str) -> None:
    """Move `part` to `final` without replacing anything; done already is done."""
    if not part.exists():
        if final.is_file() and _sha256(final) == sha256:
            return
        raise PartLostError(f"{part}: the part file is gone and {final.name} does not hold its bytes.")
    try:
        os.link(part, final)
    except FileExistsError:
        if not _is_ours(part, final, sha256):
            raise NameTakenError(f"{final}: another file has this name.") from None
        if not part.samefile(final):
            part.replace(final)
            return
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        _rename_over_placeholder(part, final, sha256)
        return
    crash_point("publish.linked")
    part.unlink()


def _rename_over_placeholder(part: Path, final: Path, sha256: str) -> None:
    """Where hard links do not exist: reserve the name with an empty file of our own, then rename over it."""
    try:
        os.close(os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        if not _is_ours(part, final, sha256):
            raise NameTakenError(f"{final}: another file has this name.") from None
    crash_point("publish.placeholder")
    part.replace(final)


def _is_ours(part: Path, final: Path, sha256: str) -> bool:
    """Tell whether `final` is this plan's: the same file, our empty placeholder, or the planned bytes."""
    if final.is_symlink() or not final.is_file():
        return False
    if part.exists() and (part.samefile(final) or final.stat().st_size == 0):
        return True
    return _sha256(final) == sha256


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
