"""One run of a batch: checked, held against a second one, served until all is done or somebody stops it, reported.

Comes in: DIR, OUT and the station's settings. Goes out: an `Outcome`. Promises: an original is never touched; what was
published once is not done again, for the ledger and the receipts in OUT know it, whatever ended the run before; there
is one run of a batch at a time.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

from loguru import logger

from spotlessd.batches.contents import Contents, read_contents
from spotlessd.batches.place import EXIT_BAD_INPUT, EXIT_NO_INPUT, FOLDER_NAME, Batch, find_batch, mark_input
from spotlessd.batches.progress import Progress, ProgressNotifier
from spotlessd.batches.report import Totals, clear_leftovers, write_report
from spotlessd.batches.terms import settings_of
from spotlessd.configuration.settings import Settings
from spotlessd.errors import BatchError, LedgerError, RootUnavailableError, StationBusyError
from spotlessd.folders.headers import check_header
from spotlessd.folders.own_folders import refuse_remote_ledger
from spotlessd.folders.station_roots import name_rules
from spotlessd.job import JobState
from spotlessd.log import set_up_log
from spotlessd.monitoring.status import LEDGER_NAME, LOCK_NAME
from spotlessd.publishing.durable import cannot_write, make_folder
from spotlessd.service import Service
from spotlessd.single_run import EXIT_OK, EXIT_QUARANTINED, EXIT_TRY_AGAIN
from spotlessd.station_lock import StationLock
from spotlessd.worker import Loader, load_pipeline

EXIT_CONFIG = 78
BUSY = "another `spotlessd submit` of {} is running; wait for it, or stop it. It shows how far it is."


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for. `output` and `name` as they came; `priority` counts in a cluster only."""

    folder: Path
    output: Path
    name: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `has_sheet`: its report has a contact sheet as well, where there was a frame to show."""

    batch: Batch
    totals: Totals
    exit_code: int
    has_sheet: bool = True


def run_batch(
    order: Order,
    settings: Settings,
    stream: TextIO,
    *,
    is_screen: bool,
    loader: Loader = load_pipeline,
    check: Callable[[Path], None] = check_header,
) -> Outcome:
    """Do everything in DIR that is not done yet, and write the report. `stream`: for progress; `is_screen`: a terminal.

    Raises:
        BatchError: the folders cannot be a batch.
        StationBusyError: it is running already.
        RootUnavailableError: DIR is away.
        ConfigError, LedgerError, PublishError: as of a service, or OUT cannot be written.
    """
    batch = _checked(order, settings)
    contents = _contents(batch, settings)
    began = time.time()
    with _alone(batch):
        batch = mark_input(_checked(order, settings) if batch.record.exists() else batch)
        batch.keep()
        derived = settings_of(batch, settings, order.priority, contents.left_out)
        refuse_remote_ledger(settings.model_copy(update={"state_dir": batch.state_dir}))
        clear_leftovers(batch)
        progress = Progress(
            batch.state_dir / LEDGER_NAME,
            stream,
            found=contents.scans,
            grace_seconds=settings.queue.stop_grace_seconds,
            is_screen=is_screen,
        )
        _log_to(derived, progress)
        for rel in contents.results:
            logger.warning("{}: left out, for it holds results of spotlessd", batch.input / rel)
        progress.write(f"{contents.scans:,} scans in {batch.input}; results go to {batch.output}\n")
        try:
            code = Service(derived, is_once=True, loader=loader, check=check, notifier=ProgressNotifier(progress)).run()
        finally:
            progress.close()
        has_sheet = not progress.is_stopping
        totals = write_report(batch, derived, began=began, has_sheet=has_sheet)
        if progress.is_stopping:
            totals.unseen = max(contents.scans - totals.scans, 0)
    return Outcome(batch, totals, _exit_code(code, totals), has_sheet)


def report_batch(order: Order, settings: Settings) -> Outcome:
    """Write the report of what there is; nothing is restored. A run may go on meanwhile.

    Raises:
        BatchError: the folders are no batch.
        UnknownJobError: there is none yet.
        PublishError: OUT cannot be written.
    """
    batch = _checked(order, settings)
    totals = write_report(batch, settings_of(batch, settings, order.priority), began=None)
    return Outcome(batch, totals, _exit_code(EXIT_OK, totals))


def _checked(order: Order, settings: Settings) -> Batch:
    batch = find_batch(order.folder, order.output, order.name, settings)
    if settings.is_clustered:
        from spotlessd.cluster.shares import NoShareError, Shares

        shares = Shares({share.name: share.path for share in settings.shares})
        try:
            for folder in (batch.input, batch.output):
                shares.place_of(folder)
        except NoShareError as error:
            raise BatchError(str(error), EXIT_CONFIG) from error
    return batch


def _contents(batch: Batch, settings: Settings) -> Contents:
    """Look at what lies in DIR; a folder without a scan is no batch."""
    watch = settings.watch
    try:
        contents = read_contents(batch.input, name_rules(watch))
    except FileNotFoundError as error:
        if batch.record.exists():
            raise RootUnavailableError(f"{batch.input}: no such folder. Is the disk or the share mounted?") from error
        raise BatchError(f"{batch.input}: no such folder.", EXIT_NO_INPUT) from error
    except PermissionError:
        raise  # the command line words it
    except OSError as error:
        raise RootUnavailableError(f"{batch.input}: cannot be read: {error.strerror}.") from error
    if contents.scans:
        return contents
    if batch.record.exists():
        raise RootUnavailableError(f"{batch.input}: no scan is there any more. Is the disk or the share mounted?")
    if not contents.kinds:
        raise BatchError(f"{batch.input}: there is nothing in it. Is the disk or the share mounted?", EXIT_NO_INPUT)
    raise BatchError(
        f"{batch.input}: no scan in it, but {contents.kinds_text}; files that end in {', '.join(watch.extensions)} "
        "are expected.",
        EXIT_BAD_INPUT,
    )


@contextmanager
def _alone(batch: Batch) -> Iterator[None]:
    """Hold the batch against a second run: by a lock in OUT, which other machines see too, and by one on DIR itself,
    which needs no right to write. Where a file system has no such lock on a folder, the first one has to do.

    Raises:
        StationBusyError: there is one.
        PublishError: OUT cannot be written.
    """
    with ExitStack() as stack:
        descriptor = os.open(batch.input, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StationBusyError(BUSY.format(batch.input)) from error
        except OSError as error:
            logger.debug("{}: cannot be locked ({})", batch.input, error.strerror)
        folder = batch.output / FOLDER_NAME
        try:
            make_folder(folder)
            lock = StationLock(folder / LOCK_NAME)
        except StationBusyError as error:
            raise StationBusyError(BUSY.format(batch.input)) from error
        except LedgerError as error:
            raise cannot_write(folder, OSError(None, str(error))) from error
        except OSError as error:
            raise cannot_write(folder, error) from error
        stack.callback(lock.close)
        yield


def _log_to(settings: Settings, progress: Progress) -> None:
    """Log everything to the batch's own file, and only what a person may want to look at to the terminal."""
    try:
        make_folder(settings.state_dir)
        level = "ERROR" if settings.log.level == "ERROR" else "WARNING"
        set_up_log(settings.log, cast("TextIO", progress), level)
    except OSError as error:
        raise cannot_write(settings.log.file or settings.state_dir, error) from error


def _exit_code(code: int, totals: Totals) -> int:
    """Return the exit code of the batch: a run that was stopped is not done, and what is quarantined counts whenever
    it happened.
    """
    if code in {EXIT_OK, EXIT_QUARANTINED}:
        if totals.unfinished:
            return EXIT_TRY_AGAIN
        return EXIT_QUARANTINED if totals.states[JobState.QUARANTINED] else EXIT_OK
    return code
