"""Which devices the station's workers run on: one worker for each NVIDIA GPU, else one in all.

Comes in: the config's choice, the environment, the driver's folder under /proc. Goes out: a `Post` for each worker. The
GPUs are counted without torch, which would open every one of them in the parent and keep a few hundred megabytes of
each. A child is shown its own GPU alone, by `CUDA_VISIBLE_DEVICES` (CUDA's programming guide, environment variables).
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spotless_core.options import DeviceChoice

DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
"""One folder for each GPU, named by its place on the bus; in a container only those that it may use."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
BY_BUS = (ORDER, "PCI_BUS_ID")
"""Numbers as `nvidia-smi` and the bus have them; CUDA's own order puts the fastest GPU first."""
UUID_LINE = re.compile(r"^GPU UUID:\s*(GPU-[0-9a-fA-F-]+)\s*$", re.MULTILINE)
"""Question marks stand there as long as nothing has used the GPU since the driver was loaded."""
SHOWN_CHARACTERS = 12
"""Of a UUID: `GPU-` and its first eight digits, as people tell them apart."""
ONLY_WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Post:
    """Where one worker works. `environment`: variables its process gets before anything that computes is loaded."""

    name: str = ONLY_WORKER
    environment: tuple[tuple[str, str], ...] = ()


def posts(
    device: DeviceChoice,
    gpus: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    driver_folder: Path = DRIVER_FOLDER,
) -> tuple[Post, ...]:
    """Return the workers' posts, at least one. `gpus`: the config's list, which wins over the environment.

    Without a choice to make (no GPU, one, or another device) the one worker's environment is left as it is.
    """
    if device not in {DeviceChoice.AUTO, DeviceChoice.CUDA}:
        return (Post(),)
    if gpus:
        return tuple(Post(_name(gpu), ((VISIBLE, gpu), BY_BUS)) for gpu in gpus)
    environ = os.environ if environ is None else environ
    found = _driver_gpus(driver_folder)
    if VISIBLE in environ:
        # The order of the numbers in it is as the environment says, so it is left alone.
        shown = [Post(_name(gpu), ((VISIBLE, gpu),)) for gpu in _visible(environ[VISIBLE], len(found))]
    else:
        shown = [Post(_name(gpu), ((VISIBLE, gpu), BY_BUS)) for gpu in found]
    return tuple(shown) if len(shown) > 1 else (Post(),)


def share_of_cores(workers: int) -> int:
    """Return how many of the cores that this process may use are one worker's, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // workers, 1)


def _visible(text: str, known: int) -> list[str]:
    """Return what `CUDA_VISIBLE_DEVICES` names, as CUDA reads it: up to the first entry that names nothing.

    `known`: how many GPUs the driver tells of, 0 = it tells nothing.
    """
    found: list[str] = []
    for entry in (part.strip() for part in text.split(",")):
        is_number = entry.isdecimal()
        if not (is_number or entry.startswith(("GPU-", "MIG-"))) or (is_number and 0 < known <= int(entry)):
            break
        if entry not in found:
            found.append(entry)
    return found


def _driver_gpus(folder: Path) -> list[str]:
    """Return the GPUs that the driver tells of, in the order of the bus: all by UUID, or all by number."""
    try:
        places = sorted(folder.iterdir())
    except OSError:
        return []
    uuids = [uuid for place in places if (uuid := _uuid(place))]
    return uuids if len(uuids) == len(places) else [str(number) for number in range(len(places))]


def _uuid(place: Path) -> str:
    try:
        found = UUID_LINE.search((place / "information").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found[1] if found else ""


def _name(gpu: str) -> str:
    return f"GPU {gpu}" if gpu.isdecimal() else gpu[:SHOWN_CHARACTERS]
