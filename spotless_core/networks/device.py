"""Choose and describe the device the networks run on; nothing is ever chosen silently."""

from dataclasses import dataclass

import torch

from spotless_core.errors import DeviceError
from spotless_core.options import DeviceChoice, DeviceOptions


@dataclass(frozen=True, slots=True)
class Device:
    """`kind`: "cpu", "cuda" or "mps". `dtype`: bfloat16 where the hardware computes in it, else float32. `note`: why
    the device is not the one asked for, "" if it is.
    """

    kind: str
    dtype: torch.dtype
    name: str
    note: str = ""

    @property
    def precision(self) -> str:
        """The dtype's name for the receipt."""
        return "bfloat16" if self.dtype == torch.bfloat16 else "float32"


def choose_device(options: DeviceOptions) -> Device:
    """Return the device of `options`; AUTO takes CUDA, else MPS, else the CPU.

    Raises:
        DeviceError: the device asked for cannot start and no fallback is allowed.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    wanted = options.device
    if wanted is DeviceChoice.AUTO:
        wanted = DeviceChoice.CUDA if torch.cuda.is_available() else DeviceChoice.CPU
        if wanted is DeviceChoice.CPU and torch.backends.mps.is_available():
            wanted = DeviceChoice.MPS
    reason = _why_not(wanted)
    if reason and not options.allow_fallback:
        raise DeviceError(
            f"device = {wanted.value}: {reason}. Set device to auto or cpu, or allow the fallback "
            "(device.allow_fallback = true)."
        )
    if reason:
        return _describe(DeviceChoice.CPU, f"{wanted.value} was asked for, the CPU ran: {reason}")
    return _describe(wanted, "")


def _why_not(device: DeviceChoice) -> str:
    if device is DeviceChoice.CUDA and not torch.cuda.is_available():
        return "no CUDA device answers (driver missing, or this torch is a CPU build)"
    if device is DeviceChoice.MPS and not torch.backends.mps.is_available():
        return "no Metal device on this machine"
    return ""


def native_dtype(kind: str) -> torch.dtype:
    """Return the dtype networks run in on a device of `kind`: bfloat16 where the hardware computes in it, else float32.

    On a CPU only where it multiplies bfloat16 itself; emulated it is slower than float32.
    """
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if kind == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported() and "avx512_bf16" in _cpu_flags():
        return torch.bfloat16
    return torch.float32


def _describe(device: DeviceChoice, note: str) -> Device:
    names = {DeviceChoice.MPS: "Metal", DeviceChoice.CPU: "CPU"}
    name = torch.cuda.get_device_name() if device is DeviceChoice.CUDA else names[device]
    return Device(device.value, native_dtype(device.value), name, note)


def _cpu_flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a kernel file, read line by line
            return next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return ""
