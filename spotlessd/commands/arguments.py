"""The words of the `spotlessd` command line: every command with its options, and the exit codes in the help.

Nothing heavy is imported: the help must come at once.
"""

import argparse
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from spotless_core.command_line import Parser
from spotless_core.options import Sensitivity
from spotlessd import __version__
from spotlessd.job import JobState

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]

DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[smhd]?)\Z")
UNIT_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
EXIT_CODES = """\
exit codes: 0 ok · 64 wrong command line · 65 bad input · 66 no such job or file · 69 device or model
unavailable · 73 cannot write · 75 try again later (paused, folder away, another spotlessd runs) ·
77 permission · 78 config"""
RUN_CODES = """\
exit codes with --once: 0 every scan that was there is done or held · 65 some were quarantined (see `spotlessd list
--state quarantined`) · 69 the worker cannot start · 73 a result or the ledger cannot be written · 75 a folder is
away, the station is paused, or another spotlessd serves it"""
SUBMIT_CODES = """\
exit codes: 0 every scan is done or held · 64 wrong command line or folder · 65 some are quarantined, or no scan is
there · 66 no such folder · 69 the worker cannot start · 73 OUT cannot be written · 75 not done yet (stopped, folder
away, already running): type the same command again · 78 config"""
STATUS_CODES = """\
exit codes: 0 ok · 1 quarantined files are there · 2 not running (with --cluster: no live worker, or PostgreSQL does not
answer) · 3 degraded (the text says why)"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read a command line; ends the process with the usage (exit code 64) where it makes no sense."""
    parser = build_parser()
    given = parser.parse_args(arguments)
    if given.command == "retry" and (given.target is None) == (not given.is_all and not given.reason):
        parser.error("retry: an id or a path, or --all, or --reason TEXT expected")
    return given


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="spotlessd",
        description="Removes dust, hairs and scratches from every film scan that lands in a folder.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"spotlessd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    station = Parser(add_help=False)
    station.add_argument("--config", type=Path, metavar="FILE", help="the station's config (default: ./spotlessd.toml)")
    output = Parser(add_help=False)
    output.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    command = commands.add_parser("init", help="make a station: config, scans/, restored/, state/")
    command.add_argument("folder", type=Path, metavar="DIR")

    command = commands.add_parser("run", parents=[station], help="watch the folders and restore", epilog=RUN_CODES)
    command.add_argument("--once", action="store_true", help="do everything that is there now, then end")
    command.add_argument(
        "--wait-for-config", action="store_true", help="wait for a wrong config to be corrected instead of ending"
    )

    commands.add_parser("worker", parents=[station], help="compute for the stations of a cluster")

    command = commands.add_parser("drain", parents=[station], help="have a cluster's worker take no more scans")
    command.add_argument("worker", metavar="NAME", help="as in `spotlessd status --cluster`")
    command.add_argument("--undo", action="store_true", dest="is_undone", help="let it go on")

    _add_submit(commands, station, output)
    command = commands.add_parser("status", parents=[station], help="how the station is", epilog=STATUS_CODES)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    form.add_argument("--watch", action="store_true", help="show it again and again, until Ctrl-C")
    command.add_argument("--cluster", action="store_true", help="the whole cluster: stations, workers, queue")

    _add_job_commands(commands, station, output)
    _add_station_commands(commands, station, output)
    return parser


def _add_submit(commands: "Commands", station: Parser, output: Parser) -> None:
    command = commands.add_parser(
        "submit",
        parents=[station, output],
        help="restore every scan below a folder, with a report; the same command again goes on",
        epilog=SUBMIT_CODES,
    )
    command.add_argument("folder", type=Path, metavar="DIR")
    command.add_argument("output", type=Path, nargs="?", metavar="OUT", help="for the results (default: DIR-restored)")
    command.add_argument("--name", default="", help="what the batch is called (default: as DIR)")
    command.add_argument(
        "--priority", type=_priority, default=-50, metavar="N", help="-100 to 100 (default -50); live scans have 0"
    )
    command.add_argument("--report-only", action="store_true", dest="is_report_only", help="only write the report")


def _add_job_commands(commands: "Commands", station: Parser, output: Parser) -> None:
    command = commands.add_parser("list", parents=[station, output], help="the jobs")
    command.add_argument("--state", type=_state, metavar="STATE", help=", ".join(JobState))

    command = commands.add_parser("show", parents=[station, output], help="one job: history, timings, files")
    command.add_argument("target", metavar="ID|PATH")

    command = commands.add_parser("retry", parents=[station], help="queue quarantined scans again")
    which = command.add_mutually_exclusive_group()
    which.add_argument("target", nargs="?", metavar="ID|PATH")
    which.add_argument("--all", action="store_true", dest="is_all", help="every quarantined scan")
    command.add_argument(
        "--reason", metavar="TEXT", help="all whose reason contains this, in any case: --reason memory"
    )

    command = commands.add_parser(
        "reprocess", parents=[station], help="restore a scan again; the result gets a new name (NAME~2)"
    )
    command.add_argument("target", metavar="ID|PATH")
    command.add_argument(
        "--mask", type=Path, metavar="PNG", help="repair exactly this mask (white = repair); it is copied"
    )
    command.add_argument("--anew", action="store_true", dest="is_anew", help="with --mask: keep no repair as it is")
    command.add_argument("--sensitivity", choices=[str(value) for value in Sensitivity])


def _add_station_commands(commands: "Commands", station: Parser, output: Parser) -> None:
    command = commands.add_parser("pause", parents=[station], help="start no more jobs; survives a restart")
    command.add_argument("--now", action="store_true", help="also stop the job in hand; it starts again later")
    command.add_argument("--for", type=parse_duration, dest="seconds", metavar="TIME", help="resume after 90s, 30m, 2h")

    commands.add_parser("resume", parents=[station], help="start jobs again")

    command = commands.add_parser("bump", parents=[station], help="do this scan next")
    command.add_argument("target", metavar="ID|PATH")

    command = commands.add_parser("scan", parents=[station, output], help="look at the folders now")
    look = command.add_mutually_exclusive_group()
    look.add_argument("--dry-run", action="store_true", help="only tell what would become of each file")
    look.add_argument(
        "--accept", action="store_true", help="take a folder as it lies now that lay on a mount of its own before"
    )

    command = commands.add_parser("review", parents=[station], help="the page to look at results and decide")
    command.add_argument("--port", type=int, metavar="N", help="serve it here, on this port; 0 = any free one")
    command.add_argument("--open", action="store_true", dest="is_opened", help="open it in the browser")

    command = commands.add_parser(
        "contact-sheet", parents=[station], help="write a folder of web pages that shows results to a client"
    )
    command.add_argument("folder", type=Path, metavar="OUT_DIR", help="a new or empty folder")
    command.add_argument("--root", default="", metavar="NAME", help="only scans of this root")
    command.add_argument("--day", type=_day, metavar="YYYY-MM-DD", help="only scans that came in then")
    command.add_argument("--state", choices=["done", "held"], default="done", help="done (default) or held")
    command.add_argument("--title", default="", metavar="TEXT", help="the heading")

    command = commands.add_parser("feedback", parents=[station], help="what edits have taught: how much there is")
    what = command.add_subparsers(dest="feedback_command", metavar="COMMAND")
    export = what.add_parser("export", help="copy it for a training")
    export.add_argument("folder", type=Path, metavar="DIR")
    export.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="as before the word")

    commands.add_parser("check-config", parents=[station], help="check the config; every problem with its line")
    command = commands.add_parser("config", help="show what the station runs with")
    show = command.add_subparsers(dest="config_command", required=True, metavar="COMMAND")
    shown = show.add_parser("show", parents=[station, output], help="every key with its value")
    shown.add_argument("--origin", action="store_true", help="and where each comes from: default, file:line, variable")

    command = commands.add_parser(
        "doctor", parents=[station, output], help="check folders, disk, limits, models and device"
    )
    command.add_argument("--cluster", action="store_true", help="check what the machines of a cluster share")

    command = commands.add_parser("install-service", parents=[station], help="install the systemd or launchd service")
    scope = command.add_mutually_exclusive_group()
    scope.add_argument("--user", action="store_const", const="user", dest="scope", help="for this user (default)")
    scope.add_argument("--system", action="store_const", const="system", dest="scope", help="for the machine")
    command.add_argument("--print", action="store_true", dest="is_print", help="print the files, write nothing")
    command.set_defaults(scope="user")

    command = commands.add_parser("demo", help="make a scan, run a station on it, show what came out")
    command.add_argument("folder", type=Path, metavar="DIR")


def _state(text: str) -> JobState:
    """Return the state of this name."""
    if text not in {str(state) for state in JobState}:
        raise argparse.ArgumentTypeError(f"{text!r}; one of {', '.join(JobState)} expected")
    return JobState(text)


def _priority(text: str) -> int:
    """Return a priority as a folder may have it."""
    if not re.fullmatch(r"[+-]?\d{1,3}", text) or abs(int(text)) > 100:
        raise argparse.ArgumentTypeError(f"{text!r}; a whole number from -100 to 100 expected")
    return int(text)


def _day(text: str) -> str:
    """Return a day as the ledger writes it."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; a day such as 2026-11-23 expected") from None


def parse_duration(text: str) -> float:
    """Return the seconds of "90", "90s", "30m", "2h" or "1d"."""
    found = DURATION.match(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}; a time such as 90s, 30m or 2h expected")
    return float(found["number"]) * UNIT_SECONDS[found["unit"]]
