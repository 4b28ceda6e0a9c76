"""What is done with the scans of one folder, and how the folder is watched and read. Values only."""

from dataclasses import dataclass, field

from spotless_core.options import RestoreOptions


@dataclass(frozen=True, slots=True)
class Profile:
    """What is done with the scans of one folder. `recipe`: names everything that changes their pixels."""

    options: RestoreOptions = field(default_factory=RestoreOptions)
    recipe: str = "recipe"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How a folder is watched and read, by the words of the config: `mode`, and `spool`, the copy before reading."""

    mode: str = "auto"
    spool: str = "auto"

    def is_polled(self, *, is_network: bool) -> bool:
        """Whether the folder is looked at by the clock alone."""
        return self.mode == "polling" or (self.mode == "auto" and is_network)

    def is_spooled(self, *, is_network: bool) -> bool:
        """Whether its scans are copied to a local disk before they are read."""
        return self.spool == "always" or (self.spool == "auto" and is_network)
