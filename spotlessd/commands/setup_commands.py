"""The commands about the installation: check-config, config show, scan --dry-run, doctor, install-service.

They return what is to be printed; nothing here is written but the service's files.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from loguru import logger

from spotlessd.commands.dry_scan import Finding, look_at_all
from spotlessd.commands.install_service import Scope, install, plan_service
from spotlessd.commands.station_commands import Answer
from spotlessd.commands.wording import as_json as to_json
from spotlessd.commands.wording import one_line_name
from spotlessd.configuration.in_force import settings_in_force
from spotlessd.configuration.origin import entries
from spotlessd.configuration.settings import Settings, find_config, load_settings
from spotlessd.doctor.checking import Check
from spotlessd.doctor.doctor import run_checks, run_cluster_checks
from spotlessd.errors import ConfigError
from spotlessd.folders.mount_memory import MountMemory
from spotlessd.folders.own_folders import refuse_remote_ledger
from spotlessd.folders.station_roots import open_roots, overlapping_folders
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

EXIT_UNAVAILABLE = 69
CONFIG_LOOK_SECONDS = 10.0
"""How often a config that was wrong at the start is read again."""
ORIGIN_COLUMN = 60
"""Origins stand in one column, but for longer lines."""
SIGNS = {True: "ok  ", False: "FAIL", None: "?   "}


def check_config(settings: Settings) -> Answer:
    """Tell that a config was read, and what it means for the folders.

    Raises:
        ConfigError: the folders contain each other, or the ledger lies across a network.
    """
    problems = overlapping_folders(settings)
    if problems:
        raise ConfigError(*(f"{settings.config_path}: roots: {problem}" for problem in problems))
    refuse_remote_ledger(settings)
    whose = f"station {settings.station_id}" if settings.roots else "for `spotlessd worker` only"
    lines = [f"{settings.config_path}: ok, {whose}, recipe {settings.recipe()}"]
    for root in settings.roots:
        lines.append(f"{root.name}: {root.input} -> {root.output}")
        missing = [str(folder) for folder in (root.input, root.output) if not folder.is_dir()]
        lines += [f"  ! {folder} is not there now: is the share mounted, or the name wrong?" for folder in missing]
        profile = [f"{key} = {value}" for key, value in root.profile_values().items()]
        lines += [f"  of its own: {', '.join(profile)}"] if profile else []
    return Answer("\n".join([*lines, f"state: {settings.state_dir}"]))


def show_config(settings: Settings, *, with_origin: bool, as_json: bool) -> Answer:
    """Return every key of the config with its value, and with where it came from.

    Raises:
        ConfigError: the file was changed or removed since it was loaded.
    """
    try:
        found = entries(settings)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{settings.config_path}: it changed just now ({error}). Try again.") from error
    if as_json:
        values = [{"key": entry.key, "value": entry.value, "origin": entry.origin} for entry in found]
        return Answer(to_json(values))
    width = max(len(entry.text()) for entry in found if len(entry.text()) <= ORIGIN_COLUMN)
    return Answer(
        "\n".join(f"{entry.text():<{width}}  # {entry.origin}" if with_origin else entry.text() for entry in found)
    )


def dry_scan(settings: Settings, *, as_json: bool) -> Answer:
    """Tell what would become of each file in the folders, and change nothing.

    Raises:
        ConfigError: the folders contain each other.
        StationBusyError: a folder belongs to another station.
    """
    from spotlessd.folders.headers import check_header

    roots = open_roots(settings)
    watch = settings.watch
    settle = {root.name: watch.settle_seconds_network if root.is_network else watch.settle_seconds for root in roots}
    path = settings.state_dir / LEDGER_NAME
    logger.disable("spotlessd")  # what a look tells the daemon's log stands in the findings
    try:
        if path.exists():
            with Database.open(path) as database:
                memory = MountMemory(Board(database))
                for root in roots:
                    memory.recall(root)
                found = list(look_at_all(roots, Ledger(database), check_header, settle, time.time()))
        else:
            found = list(look_at_all(roots, None, check_header, settle, time.time()))
    finally:
        logger.enable("spotlessd")
    if as_json:
        return Answer(to_json([asdict(finding) for finding in found]))
    counts = Counter(finding.verdict for finding in found)
    total = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items())) or "no scans in the folders"
    return Answer("\n".join([*(_finding_text(finding, len(roots)) for finding in found), f"in all: {total}"]))


def wait_for_config(
    config: Path | None, print_line: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> Settings:
    """Return the settings as soon as they can be used; until then each new set of problems is printed once."""
    told = ""
    while True:
        try:
            settings = load_settings(find_config(config))
            check_config(settings)
        except ConfigError as error:
            if str(error) != told:
                print_line(f"spotlessd: {error}\nspotlessd: waiting for the config to be corrected")
                told = str(error)
            sleep(CONFIG_LOOK_SECONDS)
        else:
            return settings


def _finding_text(finding: Finding, roots: int) -> str:
    name = one_line_name(finding.rel) or finding.root
    place = name if roots == 1 or not finding.rel else f"{finding.root}: {name}"
    return f"{place}: {finding.verdict}" + (f": {finding.note}" if finding.note else "")


def doctor(config: Path | None, *, as_json: bool, is_cluster: bool = False) -> Answer:
    """Run every check; without a usable config the machine is looked at too. `is_cluster`: only the cluster."""
    settings = None
    checks: list[Check] = []
    try:
        settings = load_settings(find_config(config))
        checks.append(Check("config", ok=True, detail=str(settings.config_path)))
    except ConfigError as error:
        settings = _settings_of_the_daemon(config)
        fix = "Correct it, or make a station: spotlessd init DIR"
        if settings is not None:
            fix = "Correct it. The daemon goes on with the settings before it; those are looked at below."
        checks.append(Check("config", ok=False, detail=str(error), fix=fix))
    if not is_cluster:
        checks += run_checks(settings)
    elif settings is not None:
        checks += run_cluster_checks(settings)
    exit_code = EXIT_UNAVAILABLE if any(check.ok is False for check in checks) else 0
    if as_json:
        values = {"ok": exit_code == 0, "checks": [asdict(check) for check in checks]}
        return Answer(to_json(values), exit_code)
    lines: list[str] = []
    for check in checks:
        lines.append(f"{SIGNS[check.ok]} {check.name}: {check.detail}")
        if check.fix:
            lines.append(f"     -> {check.fix}")
    return Answer("\n".join(lines), exit_code)


def _settings_of_the_daemon(config: Path | None) -> Settings | None:
    """Return what a daemon works by whose config was broken meanwhile, or None."""
    try:
        return settings_in_force(find_config(config))
    except ConfigError:
        return None


def install_service(settings: Settings, *, scope: Scope, is_print: bool) -> Answer:
    """Write the service's files, or only show them.

    Raises:
        InstallError: this platform or station does not allow it, or a file cannot be written.
    """
    plan = plan_service(settings, scope)
    if is_print:
        return Answer(plan.printed())
    install(plan)
    lines = [f"written: {file.path}" for file in plan.files]
    lines += ["now type:", *(f"  {command}" for command in plan.next_commands), *plan.notes]
    return Answer("\n".join(lines))
