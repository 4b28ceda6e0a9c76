"""Every error the core raises on purpose, with whose fault it is and whether trying again can help.

    SpotlessError
    ├── ScanError               the photo: never try again unless the file changes        exit 65
    │   ├── TruncatedScanError  the file ends too early; may still be growing             exit 65, try again
    │   └── UnsupportedScanError a container, codec or layout we do not keep exactly      exit 65
    ├── MissingInputError       no such file                                              exit 66
    ├── ModelError              weights missing, wrong checksum, wrong shape              exit 69
    ├── DeviceError             the device asked for cannot start                         exit 69
    │   └── DeviceMemoryError   the device ran out of memory; smaller tiles may help      exit 69, try again
    ├── OutputError             the result cannot be written (full disk, permission)      exit 73, try again
    ├── OptionsError            an option or config value is out of range                 exit 78
    ├── PreservationError       our result would differ outside the mask: never published exit 70
    └── ArrayContractError      our own code passed a wrong shape or dtype                exit 70

Messages say what came, what was expected and what to do. The file's name is added once, at the job boundary.
"""


class SpotlessError(Exception):
    """The base of every error raised on purpose; `exit_code` is sysexits, `is_retryable` says if waiting can help."""

    exit_code = 70
    is_retryable = False


class ScanError(SpotlessError):
    """The photo is damaged or is not what its header says."""

    exit_code = 65


class TruncatedScanError(ScanError):
    """The file ends before the data its header promises; it may still be growing."""

    is_retryable = True


class UnsupportedScanError(ScanError):
    """The photo is sound, but of a kind that cannot be kept exactly; refused rather than harmed."""


class MissingInputError(SpotlessError):
    """The input file does not exist or is not a regular file."""

    exit_code = 66


class ModelError(SpotlessError):
    """Weights are missing, have another checksum than the manifest says, or do not fit the network."""

    exit_code = 69


class DeviceError(SpotlessError):
    """The requested device cannot start on this machine."""

    exit_code = 69


class DeviceMemoryError(DeviceError):
    """The device ran out of memory; the same job may pass with smaller tiles or on the CPU."""

    is_retryable = True


class OutputError(SpotlessError):
    """The result cannot be written: full disk, missing folder, permission."""

    exit_code = 73
    is_retryable = True


class OptionsError(SpotlessError):
    """An option is outside its legal range."""

    exit_code = 78


class PreservationError(SpotlessError):
    """The encoded result differs from the scan outside the mask, so it must not be published."""


class ArrayContractError(SpotlessError):
    """An array has another shape, dtype or range than the callee's contract says: our own mistake."""
