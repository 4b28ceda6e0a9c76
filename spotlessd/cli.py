"""The `spotlessd` command: parses the line, calls what does the work, prints, and turns errors into exit codes.

Nothing heavy is imported before it is needed; no command loads torch into this process.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spotless_core.errors import SpotlessError
from spotless_core.options import Sensitivity
from spotlessd import __version__
from spotlessd.errors import DaemonError
from spotlessd.job import JobState

if TYPE_CHECKING:
    from spotlessd.commands import Answer

EXIT_INTERRUPTED = 130
EXIT_NO_PERMISSION = 77
DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[smhd]?)\Z")
UNIT_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
EXIT_CODES = """\
exit codes: 0 ok · 65 bad input · 66 no such job or file · 69 device or model unavailable · 73 cannot write ·
75 try again later (paused, folder away, another spotlessd runs) · 77 permission · 78 config"""
RUN_CODES = """\
exit codes with --once: 0 every scan that was there is done or held · 65 some were quarantined (see `spotlessd list
--state quarantined`) · 69 the worker cannot start · 73 a result or the ledger cannot be written · 75 a folder is
away, the station is paused, or another spotlessd serves it"""
STATUS_CODES = "exit codes: 0 ok · 1 quarantined files are there · 2 not running · 3 degraded (the text says why)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = build_parser().parse_args(arguments)
    try:
        return _run(given)
    except (DaemonError, SpotlessError) as error:
        print(f"spotlessd: {error}", file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        print(f"spotlessd: {error.filename}: {error.strerror}.", file=sys.stderr)
        return EXIT_NO_PERMISSION
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="spotlessd",
        description="Removes dust, hairs and scratches from every film scan that lands in a folder.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"spotlessd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    station = argparse.ArgumentParser(add_help=False)
    station.add_argument("--config", type=Path, metavar="FILE", help="the station's config (default: ./spotlessd.toml)")
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    command = commands.add_parser("init", help="make a station: config, scans/, restored/, state/")
    command.add_argument("folder", type=Path, metavar="DIR")

    command = commands.add_parser("run", parents=[station], help="watch the folders and restore", epilog=RUN_CODES)
    command.add_argument("--once", action="store_true", help="do everything that is there now, then end")

    commands.add_parser("status", parents=[station, output], help="how the station is", epilog=STATUS_CODES)

    command = commands.add_parser("list", parents=[station, output], help="the jobs")
    command.add_argument("--state", type=JobState, choices=list(JobState), metavar="STATE", help=", ".join(JobState))

    command = commands.add_parser("show", parents=[station, output], help="one job: history, timings, files")
    command.add_argument("target", metavar="ID|PATH")

    command = commands.add_parser("retry", parents=[station], help="queue quarantined scans again")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("target", nargs="?", metavar="ID|PATH")
    which.add_argument("--all", action="store_true", dest="is_all", help="every quarantined scan")

    command = commands.add_parser(
        "reprocess", parents=[station], help="restore a scan again; the result gets a new name (NAME~2)"
    )
    command.add_argument("target", metavar="PATH")
    command.add_argument("--mask", type=Path, metavar="PNG", help="repair exactly this mask: white = repair")
    command.add_argument("--sensitivity", choices=[str(value) for value in Sensitivity])

    command = commands.add_parser("pause", parents=[station], help="start no more jobs; survives a restart")
    command.add_argument("--now", action="store_true", help="also stop the job in hand; it starts again later")
    command.add_argument("--for", type=parse_duration, dest="seconds", metavar="TIME", help="resume after 90s, 30m, 2h")

    commands.add_parser("resume", parents=[station], help="start jobs again")

    command = commands.add_parser("bump", parents=[station], help="do this scan next")
    command.add_argument("target", metavar="ID|PATH")

    commands.add_parser("scan", parents=[station], help="look at the folders now")
    commands.add_parser("check-config", parents=[station], help="check the config; every problem with its line")
    commands.add_parser("doctor", parents=[station, output], help="check folders, disk, limits, models and device")

    command = commands.add_parser("install-service", parents=[station], help="install the systemd or launchd service")
    scope = command.add_mutually_exclusive_group()
    scope.add_argument("--user", action="store_const", const="user", dest="scope", help="for this user (default)")
    scope.add_argument("--system", action="store_const", const="system", dest="scope", help="for the machine")
    command.add_argument("--print", action="store_true", dest="is_print", help="print the files, write nothing")
    command.set_defaults(scope="user")

    command = commands.add_parser("demo", help="make a scan, run a station on it, show what came out")
    command.add_argument("folder", type=Path, metavar="DIR")
    return parser


def parse_duration(text: str) -> float:
    """Return the seconds of "90", "90s", "30m", "2h" or "1d"."""
    found = DURATION.match(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}; a time such as 90s, 30m or 2h expected")
    return float(found["number"]) * UNIT_SECONDS[found["unit"]]


def _run(given: argparse.Namespace) -> int:
    """Do what was asked; the commands that need no config first."""
    match given.command:
        case "init":
            from spotlessd.station import init_station

            config = init_station(given.folder)
            print(f"A station is ready. Put scans into {config.parent / 'scans'} and start it:")
            print(f"  spotlessd run --config {config}")
            return 0
        case "demo":
            from spotlessd.demo import run_demo

            return run_demo(given.folder)
        case "doctor":
            from spotlessd.setup_commands import doctor

            return _print(doctor(given.config, as_json=given.as_json))
    return _run_with_config(given)


def _run_with_config(given: argparse.Namespace) -> int:
    from spotlessd import commands
    from spotlessd.settings import find_config, load_settings

    settings = load_settings(find_config(given.config))
    match given.command:
        case "run":
            from spotlessd.log import set_up_log
            from spotlessd.service import Service

            set_up_log(settings.log)
            return Service(settings, is_once=given.once).run()
        case "check-config":
            from spotlessd.setup_commands import check_config

            return _print(check_config(settings))
        case "install-service":
            from spotlessd.setup_commands import install_service

            return _print(install_service(settings, scope=given.scope, is_print=given.is_print))
        case "status":
            answer = commands.show_status(settings, as_json=given.as_json)
        case "list":
            answer = commands.list_jobs(settings, given.state, as_json=given.as_json)
        case "show":
            answer = commands.show_job(settings, given.target, as_json=given.as_json)
        case "retry":
            answer = commands.retry(settings, None if given.is_all else given.target)
        case "reprocess":
            answer = commands.reprocess(settings, given.target, given.mask, given.sensitivity)
        case "pause":
            answer = commands.pause(settings, now=given.now, seconds=given.seconds)
        case "resume":
            answer = commands.resume(settings)
        case "bump":
            answer = commands.bump(settings, given.target)
        case _:
            answer = commands.scan(settings)
    return _print(answer)


def _print(answer: "Answer") -> int:
    print(answer.text)
    return answer.exit_code
