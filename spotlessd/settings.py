"""The station's configuration: read once from TOML and the environment, checked as a whole, frozen.

Comes in: the path of a TOML file. Goes out: `Settings`, with every path absolute. The environment wins over the file
(`SPOTLESSD_WATCH__SETTLE_SECONDS=20`). The rules for detect, mask, inpaint and device are the core's own. Promise:
nothing is ignored in silence: an unknown key, an unknown SPOTLESSD_ variable or a value out of range is an error, and
all of them are reported at once (settings_problems.py words them; settings_sections.py has the tables).
"""

import hashlib
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from spotless_core.options import DeviceOptions, FilmFormat, RestoreOptions
from spotlessd.errors import ConfigError, DaemonError
from spotlessd.packaged import packaged_file
from spotlessd.settings_problems import (
    ENV_PREFIX,
    NAME_PATTERN,
    ConfigSource,
    dotted,
    unknown_environment,
    unknown_key,
    word_problems,
)
from spotlessd.settings_sections import (
    DetectSettings,
    DeviceSettings,
    DiskSettings,
    InpaintSettings,
    LogSettings,
    MaskSettings,
    Number,
    OutputSettings,
    QueueSettings,
    RootSettings,
    WatchSettings,
)

CONFIG_NAME = "spotlessd.toml"
CONFIG_VARIABLE = "SPOTLESSD_CONFIG"
SYNTAX_PLACE = re.compile(r"\s*\(at line (?P<line>\d+), column \d+\)|\s*\(at end of document\)")
NO_PIXELS = ("max_megapixels", "preview_long_side_px", "mask_format", "allow_reencode", "allow_transcode")
"""Options that change no pixel of a scan that came through without them."""
SYSTEM_CONFIG = Path("/etc/spotlessd/spotlessd.toml")


class Settings(BaseSettings):
    """Everything a station is configured by. Made by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=False,
    )

    station_id: Annotated[str, Field(pattern=NAME_PATTERN)] = "station"
    state_dir: Path = Path("state")
    film_format: FilmFormat = FilmFormat.AUTO
    max_megapixels: Annotated[Number, Field(gt=0, le=20000)] = 2000.0
    roots: Annotated[tuple[RootSettings, ...], Field(min_length=1)]
    watch: WatchSettings = WatchSettings()
    detect: DetectSettings = DetectSettings()
    mask: MaskSettings = MaskSettings()
    inpaint: InpaintSettings = InpaintSettings()
    device: DeviceSettings = DeviceSettings()
    queue: QueueSettings = QueueSettings()
    disk: DiskSettings = DiskSettings()
    output: OutputSettings = OutputSettings()
    log: LogSettings = LogSettings()
    _config_path: Path = PrivateAttr(default=Path())

    @property
    def config_path(self) -> Path:
        """The file these settings were read from, absolute."""
        return self._config_path

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; there are no other sources."""
        return env_settings, init_settings

    def restore_options(self) -> RestoreOptions:
        """Return what one restoration depends on."""
        return RestoreOptions(
            detect=self.detect.options(),
            mask=self.mask.options(),
            inpaint=self.inpaint.options(),
            film_format=self.film_format,
            max_megapixels=self.max_megapixels,
            preview_long_side_px=self.output.preview_long_side_px,
            allow_reencode=self.output.allow_reencode,
            allow_transcode=self.output.allow_transcode,
            mask_format=self.output.mask_format,
        )

    def device_options(self) -> DeviceOptions:
        """Return where the networks run."""
        return self.device.options()

    def recipe(self) -> str:
        """Return 12 hex digits over everything that changes pixels: the options and the shipped weights.

        Left out: where big-lama lies (a moved file changes nothing), limits, preview, mask format, which scans are
        refused, device, logs and queue.
        """
        options = asdict(self.restore_options())
        for name in NO_PIXELS:
            del options[name]
        del options["inpaint"]["max_hole_um"], options["inpaint"]["max_seconds"]
        options["inpaint"]["big_lama_path"] = self.inpaint.big_lama_path is not None
        digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
        digest.update(b"\0" + _weights_fingerprint().encode())
        return digest.hexdigest()[:12]


def find_config(given: Path | None) -> Path:
    """Return the config to use: `given`, $SPOTLESSD_CONFIG, ./spotlessd.toml, the user's, /etc's.

    Raises:
        ConfigError: none of them is there.
    """
    if given is not None:
        return given
    if os.environ.get(CONFIG_VARIABLE):
        return Path(os.environ[CONFIG_VARIABLE])
    user_folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "spotlessd"
    places = [Path(CONFIG_NAME), user_folder / CONFIG_NAME]
    if sys.platform == "darwin":
        places.append(Path.home() / "Library" / "Application Support" / "spotlessd" / CONFIG_NAME)
    places.append(SYSTEM_CONFIG)
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    raise ConfigError(
        f"no config found (looked at {looked}). Give --config FILE, or make a station: spotlessd init DIR"
    )


def load_settings(path: Path) -> Settings:
    """Read and check the configuration at `path`; relative paths are taken from its folder.

    Raises:
        ConfigError: with every problem found.
    """
    path = path.absolute()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file. Make a station with: spotlessd init DIR") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_problem(path, text, str(error))) from error
    source = ConfigSource(path, text, dict(os.environ))
    settings = _parse(table, source)
    problems = _root_problems(settings, source)
    if problems:
        raise ConfigError(*problems)
    return _with_absolute_paths(settings, path)


def _parse(table: Mapping[str, Any], source: ConfigSource) -> Settings:
    """Build the settings from file and environment, or raise with all problems."""
    # Unknown names at the top are taken out first: BaseSettings reads keyword arguments such as `_env_file` itself.
    known = {name: value for name, value in table.items() if name in Settings.model_fields}
    problems = [unknown_key(Settings, source, (name,)) for name in table if name not in known]
    from_environment = unknown_environment(Settings, source.environ)
    try:
        settings = Settings(**known)
    except ValidationError as error:
        problems += word_problems(error, Settings, source)
    except SettingsError as error:
        problems.append(f"environment: {error}; JSON expected, as in {ENV_PREFIX}WATCH__EXTENSIONS='[\".tif\"]'.")
    if problems or from_environment:
        raise ConfigError(*problems, *from_environment)
    settings._config_path = source.path
    return settings


def _root_problems(settings: Settings, source: ConfigSource) -> list[str]:
    """Return what is wrong between the roots; whether folders contain each other is checked when they are opened."""
    problems = []
    for key in ("name", "input"):
        seen: dict[str, int] = {}
        for index, root in enumerate(settings.roots):
            value = str(getattr(root, key))
            if value in seen:
                place: tuple[str | int, ...] = ("roots", index, key)
                problems.append(
                    f"{source.place(place)}: {dotted(place)}: {value!r} came; it is taken by roots[{seen[value]}]; "
                    f"every root needs its own."
                )
            seen.setdefault(value, index)
    return problems


def _with_absolute_paths(settings: Settings, path: Path) -> Settings:
    """Resolve relative paths against the config's folder; `~` is the home of the user who runs the daemon."""

    def absolute(value: Path) -> Path:
        return Path(os.path.normpath(path.parent / value.expanduser()))

    def optional(value: Path | None) -> Path | None:
        return None if value is None else absolute(value)

    roots = tuple(
        root.model_copy(update={"input": absolute(root.input), "output": absolute(root.output)})
        for root in settings.roots
    )
    return settings.model_copy(
        update={
            "state_dir": absolute(settings.state_dir),
            "roots": roots,
            "inpaint": settings.inpaint.model_copy(update={"big_lama_path": optional(settings.inpaint.big_lama_path)}),
            "log": settings.log.model_copy(update={"file": optional(settings.log.file)}),
        }
    )


def _syntax_problem(path: Path, text: str, message: str) -> str:
    """Turn tomllib's "… (at line 3, column 7)" into file:line."""
    found = SYNTAX_PLACE.search(message)
    line = int(found["line"]) if found else len(text.splitlines())
    return f"{path}:{line}: not TOML: {SYNTAX_PLACE.sub('', message)}."


def _weights_fingerprint() -> str:
    """Return the checksums of the shipped weights, or "" if this installation has none."""
    try:
        manifest = tomllib.loads(packaged_file("models", "manifest.toml").read_text(encoding="utf-8"))
    except DaemonError:
        return ""
    return " ".join(sorted(_checksums(manifest)))


def _checksums(value: object) -> Iterator[str]:
    """Yield every `sha256` in the manifest, however its tables are laid out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "sha256":
                yield str(inner)
            else:
                yield from _checksums(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _checksums(inner)
