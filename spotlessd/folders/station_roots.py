"""The roots of a station as its settings say, checked against each other and against the disk.

Promise: no output folder lies in a watched one, nor the other way round, whatever links and mounts lead there.
"""

from spotlessd.companions.names import CompanionRules
from spotlessd.configuration.folder_overlap import find_overlaps, lies_in_on_disk
from spotlessd.configuration.profiles import Profile, Reading
from spotlessd.configuration.sections import WatchSettings
from spotlessd.configuration.settings import Settings
from spotlessd.errors import ConfigError
from spotlessd.folders.file_systems import mount_of
from spotlessd.folders.roots import NameRules, Root, refuse_foreign_marker


def open_roots(settings: Settings) -> list[Root]:
    """Return the roots of a station after checking that no folder lies in another; away is not an error here.

    Raises:
        ConfigError: an output lies in an input or the other way round, or two inputs overlap.
        StationBusyError: a folder carries another station's marker.
    """
    problems = overlapping_folders(settings)
    if problems:
        raise ConfigError(*(f"{settings.config_path}: roots: {problem}" for problem in problems))
    roots = []
    rules = name_rules(settings.watch)
    for root in settings.roots:
        if root.input_marker != "":
            refuse_foreign_marker(root.input, root.input_marker or settings.station_id)
        refuse_foreign_marker(root.output, settings.station_id)
        is_network = mount_of(root.input).is_network
        reading = Reading(settings.watch.mode, settings.watch.spool)
        roots.append(
            Root(
                name=root.name,
                input=root.input,
                output=root.output,
                station_id=settings.station_id,
                rules=rules,
                is_network=is_network,
                is_polled=reading.is_polled(is_network=is_network),
                profile=Profile(settings.restore_options(root), settings.recipe(root), root.priority),
                reading=reading,
                input_marker=root.input_marker,
            )
        )
    return roots


def name_rules(watch: WatchSettings) -> NameRules:
    """Return which names are scans by these settings."""
    return NameRules(
        _lowered(watch.extensions),
        watch.ignore,
        CompanionRules(_lowered(watch.infrared_endings), _lowered(watch.companions)),
    )


def _lowered(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.lower() for word in words)


def overlapping_folders(settings: Settings) -> list[str]:
    """Return a sentence for each pair of folders that would make the daemon eat its own results."""
    folders = [(root.input, root.output) for root in settings.roots]
    problems = [overlap.sentence for overlap in find_overlaps(folders, lies_in_on_disk)]
    own_folders = [settings.state_dir, *([settings.watch.spool_dir] if settings.watch.spool_dir else [])]
    for own in own_folders:
        problems += [
            f"{own} lies in input {root.input}; nothing but the marker is ever written there."
            for root in settings.roots
            if lies_in_on_disk(own, root.input)
        ]
    return problems
