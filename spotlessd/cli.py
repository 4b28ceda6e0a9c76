"""The `spotlessd` command: parses the line, calls what does the work, prints, and turns errors into exit codes.

Nothing heavy is imported before it is needed; no command loads torch into this process.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spotless_core.errors import SpotlessError
from spotlessd.commands.arguments import parse_arguments
from spotlessd.errors import ConfigError, DaemonError

if TYPE_CHECKING:
    from spotlessd.commands.station_commands import Answer
    from spotlessd.configuration.settings import Settings

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
IN_FORCE = "the config is wrong (see: spotlessd check-config); the daemon and this command go by the one before it."
ABOUT_THE_CONFIG = frozenset({"check-config", "install-service"})
"""Commands that say what is wrong with a config, or need one that is right."""
WITHOUT_FOLDERS = frozenset({"check-config", "config", "drain", "submit"})
"""Commands for machines without folders of their own too; `status --cluster` is another."""
EXIT_NO_PERMISSION = 77


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = parse_arguments(arguments)
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


def _run(given: argparse.Namespace) -> int:
    """Do what was asked; the commands that need no config first."""
    match given.command:
        case "init":
            return _init(given.folder)
        case "demo":
            from spotlessd.commands.demo import run_demo

            return run_demo(given.folder)
        case "doctor":
            from spotlessd.commands.setup_commands import doctor

            return _print(doctor(given.config, as_json=given.as_json, is_cluster=given.cluster))
        case "run":
            return _run_daemon(given)
        case "worker":
            return _run_worker(given)
    settings = _settings_for(given)
    if given.command not in WITHOUT_FOLDERS and not getattr(given, "cluster", False):
        _require_roots(settings, given.command)
    if given.command == "status" and given.watch:
        return _watch(settings, is_cluster=given.cluster)
    if given.command == "review":
        return _review(given, settings)
    return _print(_answer(given, settings))


def _init(folder: Path) -> int:
    from spotlessd.folders.own_folders import remote_state_warning
    from spotlessd.station import STATE_NAME, init_station

    config = init_station(folder)
    warning = remote_state_warning(config.parent / STATE_NAME, config)
    if warning:
        print(f"spotlessd: {warning}", file=sys.stderr)
    print(f"A station is ready. Put scans into {config.parent / 'scans'} and start it:")
    print(f"  {_own_name()} run --config {config}")
    return 0


def _require_roots(settings: "Settings", command: str) -> None:
    """Refuse what a machine without folders of its own cannot do.

    Raises:
        ConfigError: there are none.
    """
    if not settings.roots:
        raise ConfigError(
            f"{settings.config_path}: no [[roots]], so this config is a worker's; `spotlessd {command}` needs a "
            "station's. Start it with `spotlessd worker`, or give it a folder."
        )


def _own_name() -> str:
    """Return what a person types to call us: by its path where a shell would not find the name."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "spotlessd" and shutil.which("spotlessd") is None else "spotlessd"


def _settings_for(given: argparse.Namespace) -> "Settings":
    """Return the config; while a daemon runs on the one before a wrong one, what that daemon works by."""
    from spotlessd.configuration.in_force import settings_in_force
    from spotlessd.configuration.settings import find_config, load_settings

    path = find_config(given.config)
    try:
        return load_settings(path)
    except ConfigError:
        settings = None if given.command in ABOUT_THE_CONFIG else settings_in_force(path)
        if settings is None:
            raise
        print(f"spotlessd: {IN_FORCE}", file=sys.stderr)
        return settings


def _run_daemon(given: argparse.Namespace) -> int:
    """Be the daemon. With --wait-for-config a wrong config is waited for: launchd would start us again for ever."""
    from spotlessd.commands.setup_commands import wait_for_config
    from spotlessd.configuration.settings import find_config, load_settings
    from spotlessd.log import set_up_log
    from spotlessd.publishing.durable import cannot_write
    from spotlessd.service import Service

    if given.wait_for_config:
        settings = wait_for_config(given.config, print_line=lambda text: print(text, file=sys.stderr, flush=True))
    else:
        settings = load_settings(find_config(given.config))
    _require_roots(settings, given.command)
    try:
        set_up_log(settings.log)
    except OSError as error:
        raise cannot_write(settings.log.file or settings.state_dir, error) from error
    return Service(settings, is_once=given.once).run()


def _run_worker(given: argparse.Namespace) -> int:
    """Compute for a cluster until asked to stop."""
    from spotlessd.cluster.worker_service import ClusterWorker
    from spotlessd.configuration.settings import find_config, load_settings
    from spotlessd.log import set_up_log
    from spotlessd.publishing.durable import cannot_write

    settings = load_settings(find_config(given.config))
    try:
        set_up_log(settings.log)
    except OSError as error:
        raise cannot_write(settings.log.file or settings.state_dir, error) from error
    return ClusterWorker(settings).run()


def _drain(given: argparse.Namespace, settings: "Settings") -> "Answer":
    from spotlessd.commands.worker_commands import drain

    return drain(settings, given.worker, is_undone=given.is_undone)


def _answer(given: argparse.Namespace, settings: "Settings") -> "Answer":
    """Do one of the commands about a station's jobs or its setting up."""
    from spotlessd.commands import setup_commands
    from spotlessd.commands import station_commands as commands

    actions: dict[str, Callable[[], Answer]] = {
        "status": lambda: (
            _show_cluster(settings, as_json=given.as_json)
            if given.cluster
            else commands.show_status(settings, as_json=given.as_json)
        ),
        "list": lambda: commands.list_jobs(settings, given.state, as_json=given.as_json),
        "show": lambda: commands.show_job(settings, given.target, as_json=given.as_json),
        "retry": lambda: commands.retry(settings, given.target, given.reason or ""),
        "reprocess": lambda: commands.reprocess(
            settings, given.target, given.mask, given.sensitivity, is_anew=given.is_anew
        ),
        "pause": lambda: commands.pause(settings, now=given.now, seconds=given.seconds),
        "resume": lambda: commands.resume(settings),
        "bump": lambda: commands.bump(settings, given.target),
        "feedback": lambda: _feedback(given, settings),
        "drain": lambda: _drain(given, settings),
        "submit": lambda: _submit(given, settings),
        "contact-sheet": lambda: _contact_sheet(given, settings),
        "scan": lambda: (
            setup_commands.dry_scan(settings, as_json=given.as_json)
            if given.dry_run
            else commands.scan(settings, as_json=given.as_json, accept=given.accept)
        ),
        "check-config": lambda: setup_commands.check_config(settings),
        "config": lambda: setup_commands.show_config(settings, with_origin=given.origin, as_json=given.as_json),
        "install-service": lambda: setup_commands.install_service(settings, scope=given.scope, is_print=given.is_print),
    }
    return actions[given.command]()


def _submit(given: argparse.Namespace, settings: "Settings") -> "Answer":
    import os

    from spotlessd.commands.submit import submit

    return submit(
        settings,
        given.folder,
        given.output,
        name=given.name,
        priority=given.priority,
        is_report_only=given.is_report_only,
        as_json=given.as_json,
        is_screen=sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb",
    )


def _feedback(given: argparse.Namespace, settings: "Settings") -> "Answer":
    from spotlessd.commands.feedback import feedback

    return feedback(settings, given.folder if given.feedback_command == "export" else None)


def _contact_sheet(given: argparse.Namespace, settings: "Settings") -> "Answer":
    from spotlessd.commands.contact_sheet import contact_sheet

    limits = {"root": given.root, "day": given.day or "", "state": given.state}
    return contact_sheet(settings, given.folder, **limits, title=given.title)


def _review(given: argparse.Namespace, settings: "Settings") -> int:
    import webbrowser

    from spotlessd.commands.review_page import review
    from spotlessd.log import set_up_log

    set_up_log(settings.log.model_copy(update={"level": "WARNING", "file": None}))
    return review(
        settings,
        port=given.port,
        show=lambda text: print(text, flush=True),
        open_page=webbrowser.open if given.is_opened else None,
    )


def _show_cluster(settings: "Settings", *, as_json: bool) -> "Answer":
    from spotlessd.commands.cluster_commands import show_cluster

    return show_cluster(settings, as_json=as_json)


def _watch(settings: "Settings", *, is_cluster: bool) -> int:
    import os
    import signal
    import time

    from spotlessd.commands.live_status import watch_status
    from spotlessd.monitoring.status import read_status

    # A shell lets programs that it starts in the background ignore Ctrl-C; the view has no other way to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Ending by SystemExit instead of at once lets the view put the terminal back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    is_screen = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if is_cluster:
        from spotlessd.commands.cluster_commands import watch_cluster

        return watch_cluster(settings, sys.stdout, is_screen=is_screen)
    return watch_status(lambda: read_status(settings.state_dir, time.time()), sys.stdout, is_screen=is_screen)


def _print(answer: "Answer") -> int:
    from spotlessd.commands.wording import printable

    print(printable(answer.text))
    return answer.exit_code
