"""Write the service file of one station: a systemd unit, or a launchd agent on macOS, from the packaged templates.

Comes in: the station's settings and whether the service is the user's or the machine's. Goes out: a plan (files, the
commands to type next, notes), which `install` carries out. The markers of the folders are written by `spotlessd init`,
never by the service, so input folders stay read-only to it.
"""

import os
import plistlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spotlessd.configuration.settings import Settings
from spotlessd.errors import InstallError
from spotlessd.packaged import packaged_file

Scope = Literal["user", "system"]
UNIT_TEMPLATE = "spotlessd@.service"
SYSUSERS_TEMPLATE = "spotlessd.sysusers.conf"
PLIST_TEMPLATE = "org.spotless.spotlessd.plist"
STATION_FOLDERS = ("StateDirectory", "CacheDirectory", "RuntimeDirectory", "ConfigurationDirectory")
"""Directives of the template that the station's own paths replace."""
NEEDS_ROOT = (
    "User",
    "Group",
    "SupplementaryGroups",
    "CapabilityBoundingSet",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectControlGroups",
    "ProtectHostname",
)
"""Directives that a user's systemd cannot apply, or only inside a user name space that hides groups and devices."""
SYSTEM_ONLY_UNITS = re.compile(r"^(After|Wants)=")
LEAST_STOP_SECONDS, STOP_MARGIN_SECONDS = 180, 60
TEMPORARY_FOLDERS = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  compared with, never written to


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """A file to write, whole."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What installing means: the files, what to type afterwards, what to know."""

    files: tuple[ServiceFile, ...]
    next_commands: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def printed(self) -> str:
        """Return all files as text, each under its path."""
        return "\n".join(f"# {file.path}\n{file.text}" for file in self.files)


def plan_service(
    settings: Settings,
    scope: Scope,
    *,
    platform: str = sys.platform,
    home: Path | None = None,
    python: Path | None = None,
) -> ServicePlan:
    """Return the plan for this station. `python`: the interpreter to start, by default the running one.

    Raises:
        InstallError: the platform or the place of the station does not allow it.
    """
    home = Path.home() if home is None else home
    # Not resolved: the interpreter of a virtual environment is a link, and its own path is what makes it one.
    python = Path(sys.executable).absolute() if python is None else python
    if platform == "darwin":
        return _plan_launchd(settings, scope, home, python)
    name = f"spotlessd-{settings.station_id}.service"
    if scope == "user":
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user"
        return ServicePlan(
            files=(ServiceFile(folder / name, render_unit(settings, scope, python)),),
            next_commands=("systemctl --user daemon-reload", f"systemctl --user enable --now {name}"),
            notes=("To keep it running while nobody is logged in: loginctl enable-linger",),
        )
    written = [settings.state_dir, *(root.output for root in settings.roots)]
    _refuse_temporary([settings.config_path, *written, *(root.input for root in settings.roots)])
    sysusers = packaged_file("systemd", SYSUSERS_TEMPLATE).read_text(encoding="utf-8")
    folders = " ".join(f"'{path}'" for path in dict.fromkeys(written))
    return ServicePlan(
        files=(
            ServiceFile(Path("/etc/systemd/system") / name, render_unit(settings, scope, python)),
            ServiceFile(Path("/etc/sysusers.d/spotlessd.conf"), sysusers),
        ),
        next_commands=(
            "sudo systemd-sysusers",
            f"sudo chown -R spotless:spotless {folders}",
            "sudo systemctl daemon-reload",
            f"sudo systemctl enable --now {name}",
        ),
        notes=("The service runs as the user spotless, which must be able to read the scans and Python itself.",),
    )


def install(plan: ServicePlan) -> None:
    """Write the plan's files.

    Raises:
        InstallError: one cannot be written.
    """
    for file in plan.files:
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            file.path.write_text(file.text, encoding="utf-8")
        except OSError as error:
            raise InstallError(
                f"{file.path}: cannot be written: {error.strerror}. "
                f"Run it with sudo, install for yourself with --user, or copy what --print shows."
            ) from error


def render_unit(settings: Settings, scope: Scope, python: Path) -> str:
    """Return the unit: the packaged one with the station's commands and paths in it."""
    template = packaged_file("systemd", UNIT_TEMPLATE).read_text(encoding="utf-8")
    body = template[template.index("[Unit]") :]
    command = f"{quoted(str(python))} -m spotlessd"
    config = quoted(str(settings.config_path))
    lines = []
    for line in body.splitlines():
        key = line.partition("=")[0]
        if key in STATION_FOLDERS or (scope == "user" and key in NEEDS_ROOT):
            continue
        if scope == "user" and SYSTEM_ONLY_UNITS.match(line):
            continue
        if key == "Description":
            lines.append(line.replace("%i", settings.station_id))
        elif key == "ExecStartPre":
            lines.append(f"ExecStartPre={command} check-config --config {config}")
        elif key == "ExecStart":
            lines.append(f"ExecStart={command} run --config {config}")
        elif key == "TimeoutStopSec":
            lines.append(f"TimeoutStopSec={_stop_seconds(settings)}")
        elif key == "SystemCallArchitectures" and scope == "system":
            lines += [*_path_lines(settings), line]
        elif key == "WantedBy":
            lines.append(f"WantedBy={'default.target' if scope == 'user' else 'multi-user.target'}")
        else:
            lines.append(line)
    head = f"# Written by `spotlessd install-service --{scope}` for {settings.config_path}".replace("\n", " ")
    return "\n".join([head, *lines]) + "\n"


def _stop_seconds(settings: Settings) -> int:
    """Return how long the service may take to stop: the job in hand may use up its grace."""
    return max(LEAST_STOP_SECONDS, round(settings.queue.stop_grace_seconds) + STOP_MARGIN_SECONDS)


def quoted(text: str) -> str:
    """Quote one argument for systemd: no specifiers (%), no variables ($), no splitting (systemd.syntax(7))."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _path_lines(settings: Settings) -> list[str]:
    """Return what the service may write and what it may only read; `-`: a share may be away when it starts."""
    written = [settings.state_dir, settings.spool_dir, *(root.output for root in settings.roots)]
    if settings.log.file is not None:
        written.append(settings.log.file.parent)
    written = [path for path in written if path == settings.state_dir or not path.is_relative_to(settings.state_dir)]
    writable = " ".join(_path(path) for path in dict.fromkeys(written))
    readable = " ".join(_path(root.input) for root in settings.roots)
    return [
        f"ReadWritePaths={writable}",
        "# The marker in an input folder is written by `spotlessd init`, not by the service.",
        f"ReadOnlyPaths={readable}",
    ]


def _path(path: Path) -> str:
    """Quote a path of a path list, where `$` means nothing."""
    return '"-' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _plan_launchd(settings: Settings, scope: Scope, home: Path, python: Path) -> ServicePlan:
    if scope == "system":
        raise InstallError(
            "--system: on macOS only a user's service sees mounted shares and the graphics card. Use --user."
        )
    label = f"org.spotless.spotlessd.{settings.station_id}"
    log = home / "Library" / "Logs" / "spotlessd" / f"{settings.station_id}.log"
    replacements = {"@PYTHON@": str(python), "@CONFIG@": str(settings.config_path), "@LOG@": str(log)}
    agent = plistlib.loads(packaged_file("systemd", PLIST_TEMPLATE).read_bytes())
    agent["Label"] = label
    agent["ProgramArguments"] = [replacements.get(word, word) for word in agent["ProgramArguments"]]
    agent["ExitTimeOut"] = _stop_seconds(settings)
    agent["StandardErrorPath"] = replacements[agent["StandardErrorPath"]]
    path = home / "Library" / "LaunchAgents" / f"{label}.plist"
    return ServicePlan(
        files=(ServiceFile(path, plistlib.dumps(agent, sort_keys=False).decode()),),
        next_commands=(f"mkdir -p '{log.parent}'", f"launchctl bootstrap gui/$UID '{path}'"),
        notes=(f"For scans on external or network volumes give {python} Full Disk Access (Privacy & Security).",),
    )


def _refuse_temporary(paths: list[Path]) -> None:
    """The machine's service has a /tmp of its own and would not see a station there."""
    for path in paths:
        if any(path.is_relative_to(folder) for folder in TEMPORARY_FOLDERS):
            raise InstallError(f"{path}: the system service cannot see /tmp. Move the station, or install with --user.")
