"""The keys of a cluster: which engine, which shares, how long a worker may be silent. Loads nothing of a cluster."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, model_validator

from spotlessd.configuration.problems import NAME_PATTERN, OPTIONAL_NAME_PATTERN
from spotlessd.configuration.sections import Number, OptionalPath, Seconds, Section, Whole

LOCAL = "local"
SCHEMES = ("postgresql://", "postgres://")
HOW_ELSE = "PGPASSWORD, ~/.pgpass or cluster.password_file"
EXPECTED = "local or postgresql://user@host:5432/database expected"


class ShareSettings(Section):
    """One folder that all machines of the cluster see, by the name that they all use."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    path: Path


class ClusterSettings(Section):
    """How a station and the workers of a cluster work together. `window`: 0 = by the number of workers."""

    password_file: OptionalPath = None
    publish: Literal["station", "worker"] = "station"
    window: Annotated[Whole, Field(ge=0, le=512)] = 0
    heartbeat_seconds: Seconds = 10
    lost_seconds: Seconds = 30
    max_losses: Annotated[Whole, Field(ge=1, le=100)] = 3
    max_age_seconds: Seconds = 600
    large_megapixels: Annotated[Number, Field(gt=0, le=20000)] = 80.0

    @model_validator(mode="after")
    def _one_beat_may_be_missed(self) -> Self:
        if self.lost_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"cluster.lost_seconds = {self.lost_seconds:g}: less than two heartbeats "
                f"(cluster.heartbeat_seconds = {self.heartbeat_seconds:g}); one may be missed, so twice that expected."
            )
        return self


class WorkerSettings(Section):
    """A machine that computes for the stations of a cluster. `name`: "" = the machine's host name."""

    name: Annotated[str, Field(pattern=OPTIONAL_NAME_PATTERN)] = ""


def _checked_engine(engine: str) -> str:
    """Return `engine` if it is an address without a password, or "local"."""
    if engine == LOCAL:
        return engine
    try:
        parts = urlsplit(engine)
        has_password = parts.password is not None or any("password" in key.lower() for key, _ in parse_qsl(parts.query))
        is_whole = bool(parts.hostname) and len(parts.path) > 1 and parts.port != 0
    except ValueError:
        raise ValueError(EXPECTED) from None
    if has_password:
        raise ValueError(f"an address without a password expected; give that by {HOW_ELSE}")
    # libpq takes the scheme in small letters only, and urlsplit passes over line breaks.
    if not is_whole or not engine.startswith(SCHEMES) or any(letter.isspace() for letter in engine):
        raise ValueError(EXPECTED)
    return engine


Engine = Annotated[str, AfterValidator(_checked_engine)]
