"""An untrained LaMa of our own in a models folder: its fills are the cheap fill and a little more."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save

from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.training.manifest import put_entry

SMALLEST = LamaShape(width=4, downsamplings=2, blocks=1)


def add_untrained_lama(folder: Path, shape: LamaShape = SMALLEST, head: float = 0.01) -> None:
    """Write weights of `shape` and their manifest entry "lama" into `folder`; `head`: scale of the last layer's."""
    torch.manual_seed(1)
    network = LamaGenerator(shape)
    torch.nn.init.normal_(network.head.weight, std=head)
    data = save({name: value for name, value in network.state_dict().items() if "num_batches" not in name})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lama.safetensors").write_bytes(data)
    put_entry(
        folder,
        "lama",
        {
            "file": "lama.safetensors",
            "sha256": hashlib.sha256(data).hexdigest(),
            "licence": "MIT",
            "shape": asdict(shape),
            "input": {"multiple": network.multiple, "smallest_px": network.smallest_px},
        },
    )
