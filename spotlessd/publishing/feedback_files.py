"""What edits teach, in the state folder: parts that workers write, finished files, and their export. No torch.

A finished file is `feedback/NAME-JOB.npz` (format: spotless_core/feedback.py). Nothing here may harm a job: what fails
is a line in the log.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from loguru import logger

from spotlessd.errors import PublishError
from spotlessd.job import Job, JobState
from spotlessd.publishing.durable import cannot_write, make_folder, remove_part, sync_folder

FOLDER = "feedback"
INDEX = "index.jsonl"
PART_NAME = re.compile(r"\.spotlessd-(?P<job>\d+)-(?P<attempt>\d+)-feedback\.part\Z")
MOST_NAME = 80


@dataclass(frozen=True, slots=True)
class FeedbackCount:
    """What lies there: files, crops of what was taken back and of what was added, bytes."""

    files: int = 0
    taken_back: int = 0
    added: int = 0
    size: int = 0


def feedback_part(state_dir: Path, job: Job) -> Path:
    """Return where the worker writes what an edited job teaches."""
    return state_dir / FOLDER / f".spotlessd-{job.id}-{job.attempt}-feedback.part"


def publish_feedback(part: Path, job: Job) -> None:
    """Give what a finished job taught its name; if there is nothing, or it cannot be named, the job does not mind."""
    stem = PurePosixPath(job.identity.rel).stem.encode()[:MOST_NAME].decode(errors="ignore")
    try:
        if not part.exists():
            return
        part.replace(part.with_name(f"{stem}-{job.id}.npz"))
        sync_folder(part.parent)
    except OSError as error:
        logger.bind(job=job.id).warning("{}: cannot be named ({}); its feedback is lost", part, error.strerror)


def tidy_feedback(state_dir: Path, job_of: Callable[[int], Job | None]) -> None:
    """Name the parts of jobs that ended just before the last run was killed; remove those of attempts that ended.

    Only right while no worker works.
    """
    try:
        with os.scandir(state_dir / FOLDER) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return  # nothing was taught yet
    for name in names:
        found = PART_NAME.match(name)
        if not found:
            continue
        job = job_of(int(found["job"]))
        if job is not None and job.state is JobState.DONE:
            publish_feedback(state_dir / FOLDER / name, job)
        elif job is None or not job.plan:
            remove_part(state_dir / FOLDER / name)


def count_feedback(state_dir: Path) -> FeedbackCount:
    """Count what lies in the state folder; files that cannot be read count as files."""
    files = taken_back = added = size = 0
    for path in _files(state_dir):
        files += 1
        size += path.stat().st_size
        labels = [line["label"] for line in _lines(path)]
        taken_back += labels.count("taken back")
        added += labels.count("added")
    return FeedbackCount(files, taken_back, added, size)


def export_feedback(state_dir: Path, target: Path) -> FeedbackCount:
    """Copy every file into `target` and write `index.jsonl` there: one line for each crop of all files in it.

    What lies there already under its name is left. Returns what `target` holds of this station now.

    Raises:
        PublishError: `target` cannot be written.
    """
    if target.resolve().is_relative_to((state_dir / FOLDER).resolve()):
        raise PublishError(f"{target}: the station's own folder of feedback; another folder expected.")
    count = FeedbackCount()
    try:
        make_folder(target)
        for path in _files(state_dir):
            copy = target / path.name
            if not copy.exists():
                part = target / f".{path.name}.part"
                shutil.copyfile(path, part)
                part.replace(copy)
        part = target / f".{INDEX}.part"
        with part.open("w", encoding="utf-8") as index:
            for path in sorted(target.glob("*.npz")):
                lines = list(_lines(path))
                index.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
                labels = [line["label"] for line in lines]
                count = FeedbackCount(
                    count.files + 1,
                    count.taken_back + labels.count("taken back"),
                    count.added + labels.count("added"),
                    count.size + path.stat().st_size,
                )
        part.replace(target / INDEX)
    except OSError as error:
        raise cannot_write(target, error) from error
    return count


def _files(state_dir: Path) -> list[Path]:
    return sorted((state_dir / FOLDER).glob("*.npz"))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a line of the index for each crop in a file; only its facts are read."""
    try:
        with np.load(path, allow_pickle=False) as values:
            document = json.loads(str(values["facts"]))
        shared = {name: document[name] for name in ("scan_sha256", "um_per_px")}
        shared["at"] = document["decision"]["at"]
        for number, crop in enumerate(document["crops"]):
            yield {"file": path.name, "index": number, **shared, **crop}
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        logger.warning("{}: not a file of feedback ({})", path, error)
