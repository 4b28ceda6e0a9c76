"""Look into a scan's header from the parent process: is it whole, how large is the frame. Never loads torch.

What only the config's allow_transcode lets through is passed on: the worker, which has the config, refuses it. Both
raise the core's errors.
"""

from pathlib import Path


def check_header(path: Path) -> None:
    """Open a scan's header and close it."""
    from spotless_core.image_io.opening import open_scan

    open_scan(path, allow_transcode=True).close()


def measure_scan(path: Path) -> tuple[int, int]:
    """Return a frame's width and height in pixels."""
    from spotless_core.image_io.opening import open_scan

    scan = open_scan(path, allow_transcode=True)
    try:
        return scan.info.width, scan.info.height
    finally:
        scan.close()
