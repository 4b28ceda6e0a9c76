"""Feedback in the state folder: parts get names, ended attempts leave nothing, an export has an index."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spotlessd.commands.feedback import feedback
from spotlessd.configuration.settings import load_settings
from spotlessd.errors import PublishError
from spotlessd.job import Identity, Job, JobState
from spotlessd.publishing.feedback_files import (
    FeedbackCount,
    count_feedback,
    export_feedback,
    feedback_part,
    publish_feedback,
    tidy_feedback,
)


def job(number: int, state: JobState = JobState.DONE, **values: Any) -> Job:
    return Job(number, Identity("scans", f"roll/frame {number}.tif", 1, 2), 3, "recipe", state, attempt=1, **values)


def write(path: Path, labels: tuple[str, ...] = ("taken back", "added", "added")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "scan_sha256": "abc",
        "um_per_px": 6.35,
        "decision": {"at": "2026-11-23T00:00:00+00:00"},
        "crops": [{"label": label, "box": [1, 2, 3, 4], "score": 0.7} for label in labels],
    }
    with path.open("wb") as file:
        np.savez_compressed(file, grey=np.zeros((len(labels), 8, 8), np.uint16), facts=np.array(json.dumps(document)))
    return path


def test_what_a_finished_job_taught_is_called_after_its_scan_and_job(tmp_path: Path) -> None:
    part = write(feedback_part(tmp_path, job(7)))

    publish_feedback(part, job(7))

    assert [path.name for path in (tmp_path / "feedback").iterdir()] == ["frame 7-7.npz"]


def test_a_job_that_taught_nothing_is_left_in_peace(tmp_path: Path) -> None:
    publish_feedback(feedback_part(tmp_path, job(7)), job(7))

    assert not (tmp_path / "feedback").exists()


def test_a_start_names_what_finished_jobs_left_and_removes_the_rest(tmp_path: Path) -> None:
    known = {1: job(1), 2: job(2, JobState.QUEUED), 3: job(3, JobState.QUEUED, plan="[]")}
    for number in (1, 2, 3, 4):
        write(feedback_part(tmp_path, job(number)))

    tidy_feedback(tmp_path, known.get)

    assert sorted(path.name for path in (tmp_path / "feedback").iterdir()) == [
        ".spotlessd-3-1-feedback.part",
        "frame 1-1.npz",
    ]


def test_a_state_folder_without_feedback_is_tidy(tmp_path: Path) -> None:
    tidy_feedback(tmp_path, {}.get)

    assert count_feedback(tmp_path) == FeedbackCount()


def test_an_export_has_every_file_and_a_line_for_each_crop(tmp_path: Path) -> None:
    state, target = tmp_path / "state", tmp_path / "export"
    first = write(state / "feedback" / "a-1.npz")
    write(state / "feedback" / "b-2.npz", ("added",))

    count = export_feedback(state, target)

    assert count == count_feedback(state)
    assert (count.files, count.taken_back, count.added) == (2, 1, 3)
    assert (target / "a-1.npz").read_bytes() == first.read_bytes()
    lines = [json.loads(line) for line in (target / "index.jsonl").read_text().splitlines()]
    assert [(line["file"], line["index"], line["label"]) for line in lines] == [
        ("a-1.npz", 0, "taken back"),
        ("a-1.npz", 1, "added"),
        ("a-1.npz", 2, "added"),
        ("b-2.npz", 0, "added"),
    ]
    assert lines[0]["um_per_px"] == 6.35
    assert sorted(path.name for path in target.iterdir()) == ["a-1.npz", "b-2.npz", "index.jsonl"]


def test_a_second_export_adds_what_is_new_and_writes_over_nothing(tmp_path: Path) -> None:
    state, target = tmp_path / "state", tmp_path / "export"
    write(state / "feedback" / "a-1.npz")
    export_feedback(state, target)
    (target / "a-1.npz").write_bytes(b"somebody's own")
    write(state / "feedback" / "b-2.npz")

    export_feedback(state, target)

    assert (target / "a-1.npz").read_bytes() == b"somebody's own"
    assert (target / "b-2.npz").exists()


def test_the_stations_own_folder_is_no_target(tmp_path: Path) -> None:
    write(tmp_path / "feedback" / "a-1.npz")

    with pytest.raises(PublishError, match="another folder expected"):
        export_feedback(tmp_path, tmp_path / "feedback")


def test_the_command_counts_and_says_when_nothing_is_added(tmp_path: Path) -> None:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
    config = tmp_path / "spotlessd.toml"
    config.write_text(
        'station_id = "dark"\n[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n'
        "[review]\nfeedback = false\n"
    )
    settings = load_settings(config)
    write(settings.state_dir / "feedback" / "a-1.npz")

    text = feedback(settings, None).text

    assert text.startswith("1 edited frames: 1 crops of repairs taken back, 2 of added ones")
    assert "review.feedback = false" in text
