"""The commands about the installation: check-config, doctor, install-service. They print nothing themselves."""

import json
from dataclasses import asdict
from pathlib import Path

from spotlessd.commands import Answer
from spotlessd.doctor import Check, run_checks
from spotlessd.errors import ConfigError
from spotlessd.install_service import Scope, install, plan_service
from spotlessd.roots import overlapping_folders
from spotlessd.settings import Settings, find_config, load_settings

EXIT_UNAVAILABLE = 69
SIGNS = {True: "ok  ", False: "FAIL", None: "?   "}


def check_config(settings: Settings) -> Answer:
    """Tell that a config was read, and what it means for the folders.

    Raises:
        ConfigError: the folders contain each other.
    """
    problems = overlapping_folders(settings.roots)
    if problems:
        raise ConfigError(*(f"{settings.config_path}: roots: {problem}" for problem in problems))
    lines = [f"{settings.config_path}: ok, station {settings.station_id}, recipe {settings.recipe()}"]
    lines += [f"{root.name}: {root.input} -> {root.output}" for root in settings.roots]
    return Answer("\n".join([*lines, f"state: {settings.state_dir}"]))


def doctor(config: Path | None, *, as_json: bool) -> Answer:
    """Run every check; without a usable config the machine is looked at all the same."""
    settings = None
    checks: list[Check] = []
    try:
        settings = load_settings(find_config(config))
        checks.append(Check("config", ok=True, detail=str(settings.config_path)))
    except ConfigError as error:
        checks.append(
            Check("config", ok=False, detail=str(error), fix="Correct it, or make a station: spotlessd init DIR")
        )
    checks += run_checks(settings)
    exit_code = EXIT_UNAVAILABLE if any(check.ok is False for check in checks) else 0
    if as_json:
        values = {"ok": exit_code == 0, "checks": [asdict(check) for check in checks]}
        return Answer(json.dumps(values, indent=2, ensure_ascii=False), exit_code)
    lines: list[str] = []
    for check in checks:
        lines.append(f"{SIGNS[check.ok]} {check.name}: {check.detail}")
        if check.fix:
            lines.append(f"     -> {check.fix}")
    return Answer("\n".join(lines), exit_code)


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
