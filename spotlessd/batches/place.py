"""The two folders of a batch: may they be one, which batch is it, and where does its ledger lie.

Comes in: DIR, OUT and the station's settings. Goes out: a `Batch`. The record `OUT/.spotlessd-batch/batch.json` names
the batch, so that the same command finds it again; the marker in OUT is the batch's. The ledger lies beside the record:
it moves with the results, is deleted with them, and needs no right on the station's state folder; only where OUT lies
on a network, it lies in the station's state folder (SQLite's journal is not safe there).
DIR gets the marker and nothing else. A folder that cannot be written (an archive mounted read-only) does without: then
the mount that it lay on is remembered, as for every root, and only an exchanged disk goes unnoticed. One that carries
the marker of another batch keeps it: it names the disk, whoever wrote it.
"""

import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from spotlessd.batches.replacing import replaced
from spotlessd.configuration.folder_overlap import lies_in_on_disk
from spotlessd.configuration.settings import Settings
from spotlessd.errors import BatchError, PublishError, RootUnavailableError
from spotlessd.folders.file_systems import mount_of
from spotlessd.folders.roots import MARKER_NAME, NameRules, check_marker, read_marker
from spotlessd.publishing.durable import cannot_write, make_folder

FOLDER_NAME, RECORD_NAME, STATE_NAME, BATCHES_NAME = ".spotlessd-batch", "batch.json", "state", "batches"
OUT_ENDING = "-restored"
ID_PREFIX = "batch-"
NAME_CHARACTERS = 40
"""Of the name taken into the id; the whole must stay under 64."""
EXIT_USAGE, EXIT_BAD_INPUT, EXIT_NO_INPUT, EXIT_CANNOT_WRITE = 64, 65, 66, 73


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. `input_marker`: the marker in DIR by which it is known again, "" where none could be written.

    `host`: of the machine that made it. `folder`: where its ledger and its log lie.
    """

    id: str
    name: str
    input: Path
    output: Path
    input_marker: str = ""
    host: str = ""
    folder: Path = Path()

    @property
    def record(self) -> Path:
        """The file that names the batch."""
        return self.output / FOLDER_NAME / RECORD_NAME

    @property
    def state_dir(self) -> Path:
        """Where its ledger lies."""
        return self.folder / STATE_NAME

    def keep(self) -> None:
        """Write the record, then the marker in OUT: a marker without a record is another's.

        Raises:
            PublishError: OUT cannot be written.
        """
        values = {name: str(value) for name, value in asdict(self).items() if name not in {"folder", "output"}}
        try:
            make_folder(self.record.parent)
            with replaced(self.record) as file:
                json.dump(values, file, indent=2, ensure_ascii=False)
            if read_marker(self.output) is None:
                (self.output / MARKER_NAME).write_text(f"{self.id}\n", encoding="utf-8")
        except OSError as error:
            raise cannot_write(self.output, error) from error


def default_output(folder: Path) -> Path:
    """Return DIR's sibling `DIR-restored`.

    Raises:
        BatchError: DIR is the top of a file tree.
    """
    absolute = _absolute(folder)
    if not absolute.name:
        raise BatchError(f"{folder}: it has no folder beside it; name the folder for the results too.", EXIT_USAGE)
    return absolute.with_name(absolute.name + OUT_ENDING)


def find_batch(folder: Path, output: Path, name: str, settings: Settings) -> Batch:
    """Return the batch of these folders: the one that OUT's record names, or a new one. Nothing is written yet.

    Raises:
        BatchError: they cannot be a batch; the sentence says why.
        RootUnavailableError: DIR is not there now and has no batch yet.
    """
    folder, output = _absolute(folder), _absolute(output)
    _refuse_shape(folder, output)
    _refuse_roots(folder, output, settings)
    _refuse_anothers(folder, output)
    known = _known(folder, output)
    batch = known or Batch(_new_id(name or folder.name), name or folder.name, folder, output, host=os.uname().nodename)
    place = output / FOLDER_NAME
    if mount_of(output).is_network:
        place = settings.state_dir / BATCHES_NAME / batch.id
    return replace(batch, input=folder, output=output, folder=place)


def mark_input(batch: Batch) -> Batch:
    """Put the marker into DIR if there is none and it can be written; return the batch with the marker it goes by.

    Raises:
        RootUnavailableError: DIR had a marker when the batch was begun, and has not got it now: it is another disk.
    """
    if batch.input_marker:
        check_marker(batch.input, batch.input_marker)
    found = read_marker(batch.input)
    if found is None:
        try:
            (batch.input / MARKER_NAME).write_text(f"{batch.id}\n", encoding="utf-8")
            found = batch.id
        except OSError:
            found = ""
    return replace(batch, input_marker=found)


def _absolute(folder: Path) -> Path:
    """Return it from the root on, without `..`; links stay."""
    return Path(os.path.normpath(folder.absolute()))


def _refuse_shape(folder: Path, output: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BatchError(
            f"{folder}: a file came, a folder of scans is expected. One photo: spotless restore IN OUT", EXIT_NO_INPUT
        )
    if output.exists() and not output.is_dir():
        raise BatchError(f"{output}: a file is there; a folder for the results is expected.", EXIT_CANNOT_WRITE)
    if lies_in_on_disk(output, folder):
        raise BatchError(
            f"{output} lies in {folder}; results would be taken for scans. Choose a folder beside it.", EXIT_USAGE
        )
    if lies_in_on_disk(folder, output):
        raise BatchError(
            f"{folder} lies in {output}; results would lie among the scans. Choose a folder beside it.", EXIT_USAGE
        )


def _refuse_roots(folder: Path, output: Path, settings: Settings) -> None:
    """A watched folder is done by its station already; what that writes is no scan."""
    for root in settings.roots:
        for own, what in ((root.input, "watches"), (root.output, "writes its results to")):
            if lies_in_on_disk(folder, own) or (own == root.input and lies_in_on_disk(own, folder)):
                raise BatchError(
                    f"{folder}: station {settings.station_id!r} {what} {own} already; choose a folder apart from it.",
                    EXIT_USAGE,
                )
            if lies_in_on_disk(output, own) or lies_in_on_disk(own, output):
                raise BatchError(
                    f"{output}: station {settings.station_id!r} {what} {own}; choose a folder for the results apart "
                    "from it.",
                    EXIT_CANNOT_WRITE,
                )


def _refuse_anothers(folder: Path, output: Path) -> None:
    for place in (folder, *folder.parents):
        owner = _marker(place)
        is_label = owner.startswith(ID_PREFIX) and not (place / FOLDER_NAME).exists()
        if owner and not is_label:
            raise BatchError(
                f"{folder}: {place} is a folder of {owner!r}, whose files are not to be done again.", EXIT_USAGE
            )
    for place in output.parents:
        if owner := _marker(place):
            raise BatchError(
                f"{output}: it lies in {place}, a folder of {owner!r}; choose one outside it.", EXIT_CANNOT_WRITE
            )


def _known(folder: Path, output: Path) -> Batch | None:
    """Return the batch that OUT belongs to; None for a folder that is new, empty, or holds hidden files alone."""
    owner = _marker(output)
    record = _read_record(output)
    if owner or record is not None:
        if record is None or owner not in {"", record.id}:
            raise BatchError(f"{output}: it belongs to {owner!r}; choose another folder.", EXIT_CANNOT_WRITE)
        is_same_disk = bool(record.input_marker) and _marker(folder) == record.input_marker
        if os.path.realpath(folder) != os.path.realpath(record.input) and not is_same_disk:
            raise BatchError(
                f"{output}: it holds the results of {record.input}; choose another folder for those of {folder}.",
                EXIT_CANNOT_WRITE,
            )
        return record
    names = NameRules(())
    if output.is_dir() and any(not names.ignores(each.name) for each in output.iterdir()):
        raise BatchError(
            f"{output}: there is something in it, and it is no batch of ours; a new or empty folder is expected.",
            EXIT_CANNOT_WRITE,
        )
    return None


def _read_record(output: Path) -> Batch | None:
    path = output / FOLDER_NAME / RECORD_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        batch_id, name, marker, host = (str(values[key]) for key in ("id", "name", "input_marker", "host"))
        return Batch(batch_id, name, Path(values["input"]), output, marker, host)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PublishError(
            f"{path}: cannot be read ({error}). It names the batch; put it back, or choose another folder."
        ) from error


def _marker(folder: Path) -> str:
    """Return the marker in a folder, "" where there is none or it cannot be told."""
    try:
        return read_marker(folder) or ""
    except RootUnavailableError:
        return ""


def _new_id(name: str) -> str:
    """Return the id of a new batch. It is random, and not made from DIR's path: a batch whose results were deleted must
    not meet what a cluster or an old ledger still know of the one before.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:NAME_CHARACTERS]
    return f"{ID_PREFIX}{plain or 'scans'}-{secrets.token_hex(4)}"
