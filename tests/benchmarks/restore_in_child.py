"""The child of test_memory.py: restores one scan in a process of its own and prints what it took, as JSON.

Arguments: the scan, a folder for the results, the detector's stride in pixels.
"""

import json
import sys
from pathlib import Path

from spotless_core.options import DetectOptions, DeviceChoice, DeviceOptions, RestoreOptions
from spotless_core.pipeline import OutputPaths, load_tools, restore_photo
from spotless_core.stopwatch import peak_memory_mb


def main(scan: Path, folder: Path, stride_px: int) -> None:
    options = RestoreOptions(detect=DetectOptions(stride_px=stride_px))
    tools = load_tools(DeviceOptions(DeviceChoice.CPU), options.inpaint)
    loaded_mb = peak_memory_mb()
    paths = OutputPaths(folder / "image.tif", folder / "mask.png", folder / "preview.jpg")
    receipt = restore_photo(scan, paths, tools, options)
    print(
        json.dumps(
            {
                "outcome": receipt.outcome,
                "defects": len(receipt.defects),
                "seconds": receipt.seconds,
                "loaded_mb": loaded_mb,
                "peak_mb": receipt.peak_memory_mb,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
