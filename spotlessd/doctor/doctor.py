"""`spotlessd doctor`: look at everything a station needs, and say for each what to do if it is not right.

Comes in: the station's settings, or None to look at the machine only. Goes out: a list of checks, none of which raises.
"""

from dataclasses import replace

from spotlessd.configuration.settings import Settings
from spotlessd.doctor.checking import Check, Runner, run_command
from spotlessd.doctor.machine_checks import check_machine
from spotlessd.doctor.station_checks import check_station


def run_checks(settings: Settings | None, run: Runner = run_command) -> list[Check]:
    """Look at everything, quick checks first; `run` starts the child processes."""
    checks = [] if settings is None else list(check_station(settings, run))
    checks += check_machine(settings, run)
    return [replace(check, fix="") if check.ok else check for check in checks]


def run_cluster_checks(settings: Settings, run: Runner = run_command) -> list[Check]:
    """Look at the cluster that `settings` belong to, and at nothing else."""
    if not settings.is_clustered:
        fix = 'Set engine = "postgresql://user@host:5432/database" for a cluster; alone, use: spotlessd doctor'
        return [Check("engine", False, f"{settings.engine}: this station computes alone", fix)]
    from spotlessd.doctor.cluster_checks import check_cluster

    checks = [Check("engine", True, "postgresql"), *check_cluster(settings, run)]
    return [replace(check, fix="") if check.ok else check for check in checks]
