"""Every error the daemon raises on purpose, with its exit code and whether trying again can help.

    DaemonError
    ├── ConfigError             the config: every problem with file:line; fix it and start again      exit 78
    ├── StationBusyError        another spotlessd already serves this station or this folder          exit 75, try again
    ├── StationExistsError      `init` would overwrite a station, or make one in another's folders    exit 73
    ├── RootUnavailableError    a scan or output folder is away (share down, marker missing)          exit 75, try again
    ├── LedgerError             the ledger or its folder cannot be opened, or it is damaged           exit 73, try again
    ├── PublishError            a result cannot be put in its place (full disk, permission)           exit 73, try again
    ├── SpoolError              a scan cannot be copied from its share (network down)                 exit 75, try again
    ├── WorkerError             the worker child failed                                               exit 70, try again
    │   ├── WorkerDiedError     it ended by itself or was killed; blamed on the job in its hand       exit 70, try again
    │   ├── WorkerStalledError  no heartbeat for `queue.stall_seconds`; it was killed                 exit 70, try again
    │   ├── WorkerLateError     longer than `queue.seconds_per_megapixel` allows; it was killed       exit 70, try again
    │   ├── WorkerTooLargeError more memory than `queue.max_worker_mb` within a job; it was killed    exit 70, try again
    │   └── WorkerStartError    it could not load its models or its device                            exit 69, try again
    ├── ReviewError             the review page cannot be served (port in use)                        exit 75, try again
    ├── UnknownJobError         no job has this id or path                                            exit 66
    ├── BatchError              `submit` cannot take this folder, or not into that one               exit 64 to 78
    └── InstallError            the service file cannot be written                                    exit 77

Messages say what came, what was expected and what to do. Errors about a photo are the core's (`spotless_core.errors`).
"""


class DaemonError(Exception):
    """The base of every error raised on purpose; `exit_code` is sysexits, `is_retryable` says if waiting can help."""

    exit_code = 70
    is_retryable = False


class ConfigError(DaemonError):
    """The configuration is wrong. `problems`: one line each, `file:line: key: what came; what is expected`."""

    exit_code = 78

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StationBusyError(DaemonError):
    """Another spotlessd holds this station's lock, or another station's marker lies in the folder."""

    exit_code = 75
    is_retryable = True


class StationExistsError(DaemonError):
    """A station's config is already there, and never overwritten; or the folder belongs to another station."""

    exit_code = 73


class RootUnavailableError(DaemonError):
    """A folder of the station is not what it was: away, another file system, or without its marker."""

    exit_code = 75
    is_retryable = True


class LedgerError(DaemonError):
    """The ledger cannot be opened or its folder not be written, it is damaged, or a newer version wrote it."""

    exit_code = 73
    is_retryable = True


class PublishError(DaemonError):
    """A finished result cannot be put under its final name."""

    exit_code = 73
    is_retryable = True


class SpoolError(DaemonError):
    """A scan cannot be copied from its share to the local disk, or changed meanwhile."""

    exit_code = 75
    is_retryable = True


class WorkerError(DaemonError):
    """The worker child failed."""

    is_retryable = True


class WorkerDiedError(WorkerError):
    """The worker child ended with a job in its hand."""


class WorkerStalledError(WorkerError):
    """The worker child gave no sign of life for `queue.stall_seconds` and was killed."""


class WorkerLateError(WorkerError):
    """The worker moved, but took longer for one job than its frame's size allows, and was killed."""


class WorkerTooLargeError(WorkerError):
    """The worker took more memory for one job than it may, and was killed before the machine ran out of it."""


class WorkerStartError(WorkerError):
    """The worker child could not load its models or start its device."""

    exit_code = 69


class ReviewError(DaemonError):
    """The review page cannot be served."""

    exit_code = 75
    is_retryable = True


class UnknownJobError(DaemonError):
    """No job has this id or path."""

    exit_code = 66


class BatchError(DaemonError):
    """A folder cannot be made a batch; `exit_code` says if the command line, DIR, OUT or the config is to blame."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class InstallError(DaemonError):
    """The service file cannot be written."""

    exit_code = 77
