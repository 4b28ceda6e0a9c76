"""`spotlessd submit` as a process, with a fake worker: `submitting.py CONFIG LOADER DIR [OUT] [--report-only]`."""

import os
import subprocess
import sys
from pathlib import Path

import fake_workers

TESTS = Path(__file__).parent
CONFIG = (
    'station_id = "dark"\n'
    '[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n'
    "[watch]\nsettle_seconds = 0.3\nincomplete_seconds = 2\n"
    "[queue]\nretry_seconds = 0.1\nretry_max_seconds = 0.2\nstop_grace_seconds = 20\nstall_seconds = 3\n"
    "[disk]\nreserve_mb = 1\n"
)


def make_config(folder: Path) -> Path:
    """A station that stands still; its folders need not be there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "spotlessd.toml"
    path.write_text(CONFIG)
    return path


def start_submit(
    config: Path, *words: str, loader: str = "load_fake", log: Path | None = None
) -> subprocess.Popen[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SPOTLESSD_")},
        "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
    }
    command = [sys.executable, str(TESTS / "submitting.py"), str(config), loader, *words]
    if log is not None:
        with log.open("a") as file:
            return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, text=True, env=environment)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def main() -> int:
    from spotlessd.commands.submit import submit
    from spotlessd.configuration.settings import load_settings
    from spotlessd.errors import DaemonError

    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    try:
        answer = submit(
            load_settings(Path(words[0])),
            Path(words[2]),
            Path(words[3]) if len(words) > 3 else None,
            name="",
            priority=-50,
            is_report_only="--report-only" in sys.argv,
            as_json="--json" in sys.argv,
            is_screen=False,
            loader=getattr(fake_workers, words[1]),
            check=fake_workers.check_fake_header,
        )
    except DaemonError as error:
        print(f"spotlessd: {error}", file=sys.stderr)
        return error.exit_code
    print(answer.text)
    return answer.exit_code


if __name__ == "__main__":
    sys.exit(main())
