"""`spotlessd feedback`: count what edits have taught, or export it for a training. Nothing leaves the machine."""

from pathlib import Path

from spotlessd.commands.station_commands import Answer
from spotlessd.configuration.settings import Settings
from spotlessd.publishing.feedback_files import FOLDER, FeedbackCount, count_feedback, export_feedback


def feedback(settings: Settings, target: Path | None) -> Answer:
    """Count the crops in the state folder; with `target` copy them there, with an index.

    Raises:
        PublishError: `target` cannot be written.
    """
    if target is None:
        text = f"{_count_text(count_feedback(settings.state_dir))} in {settings.state_dir / FOLDER}."
        return Answer(text if settings.review.feedback else f"{text} Nothing is added: review.feedback = false.")
    return Answer(f"{target}: {_count_text(export_feedback(settings.state_dir, target))}.")


def _count_text(count: FeedbackCount) -> str:
    return (
        f"{count.files} edited frames: {count.taken_back} crops of repairs taken back, {count.added} of added ones, "
        f"{count.size / 1e6:.1f} MB"
    )
