"""The station's configuration: read once from TOML and the environment, checked as a whole, frozen.

Comes in: the path of a TOML file. Goes out: `Settings`, with every path absolute. The environment wins over the file
(`SPOTLESSD_WATCH__SETTLE_SECONDS=20`). The rules for detect, mask, inpaint and device are the core's own. Promise:
nothing is ignored in silence: an unknown key, an unknown SPOTLESSD_ variable or a value out of range is an error, and
all of them are reported at once (configuration/problems.py words them; configuration/sections.py has the tables).
"""

import os
import re
import sys
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from spotless_core.options import DeviceOptions, FilmFormat, RestoreOptions
from spotlessd.configuration.check import merged, validate
from spotlessd.configuration.cluster_tables import LOCAL, ClusterSettings, Engine, ShareSettings, WorkerSettings
from spotlessd.configuration.folder_overlap import find_overlaps, lies_in_by_name
from spotlessd.configuration.problems import (
    ENV_PREFIX,
    NAME_PATTERN,
    ConfigSource,
    Placed,
    dotted,
    hide_password,
    unknown_environment,
    unknown_key,
    word_rules,
)
from spotlessd.configuration.recipes import recipe_of
from spotlessd.configuration.root_tables import RootSettings
from spotlessd.configuration.sections import (
    DetectSettings,
    DeviceSettings,
    DiskSettings,
    HealthSettings,
    InpaintSettings,
    LogSettings,
    MaskSettings,
    NotifySettings,
    Number,
    OutputSettings,
    QueueSettings,
    ReviewSettings,
    WatchSettings,
)
from spotlessd.configuration.share_rules import missing_roots, roots_out_of_shares, shares_taken_twice
from spotlessd.configuration.toml_locate import KeyPath
from spotlessd.errors import ConfigError

CONFIG_NAME = "spotlessd.toml"
CONFIG_VARIABLE = "SPOTLESSD_CONFIG"
SYNTAX_PLACE = re.compile(r"\s*\(at line (?P<line>\d+), column \d+\)|\s*\(at end of document\)")
SHOWN_LINE = 80
"""Characters of a line that is no TOML."""
SPOOL_NAME = "spool"
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
    roots: tuple[RootSettings, ...] = ()
    engine: Engine = LOCAL
    shares: tuple[ShareSettings, ...] = ()
    watch: WatchSettings = WatchSettings()
    detect: DetectSettings = DetectSettings()
    mask: MaskSettings = MaskSettings()
    inpaint: InpaintSettings = InpaintSettings()
    device: DeviceSettings = DeviceSettings()
    queue: QueueSettings = QueueSettings()
    disk: DiskSettings = DiskSettings()
    output: OutputSettings = OutputSettings()
    health: HealthSettings = HealthSettings()
    review: ReviewSettings = ReviewSettings()
    notify: NotifySettings = NotifySettings()
    log: LogSettings = LogSettings()
    cluster: ClusterSettings = ClusterSettings()
    worker: WorkerSettings = WorkerSettings()
    _config_path: Path = PrivateAttr(default=Path())
    _is_kept: bool = PrivateAttr(default=False)

    @property
    def config_path(self) -> Path:
        """The file these settings were read from, absolute."""
        return self._config_path

    @property
    def is_clustered(self) -> bool:
        """Whether scans are computed by a cluster."""
        return self.engine != LOCAL

    @property
    def is_kept(self) -> bool:
        """Whether a running daemon kept them, while the file is wrong."""
        return self._is_kept

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load_settings` puts the environment over the file; nothing else is read behind its back."""
        return (init_settings,)

    def restore_options(self, root: RootSettings | None = None) -> RestoreOptions:
        """Return what one restoration depends on: of the station, or of a root with its profile."""
        mask = self.mask if root is None else root.mask.over(self.mask)
        inpaint = self.inpaint if root is None else root.inpaint.over(self.inpaint)
        own_format = None if root is None else root.film_format
        return RestoreOptions(
            detect=self.detect.options(),
            mask=mask.options(),
            inpaint=inpaint.options(),
            film_format=own_format or self.film_format,
            max_megapixels=self.max_megapixels,
            preview_long_side_px=self.output.preview_long_side_px,
            allow_reencode=self.output.allow_reencode,
            allow_transcode=self.output.allow_transcode,
            mask_format=self.output.mask_format,
        )

    def device_options(self) -> DeviceOptions:
        """Return where the networks run."""
        return self.device.options()

    @property
    def spool_dir(self) -> Path:
        """Where scans of network folders are copied before they are read."""
        return self.watch.spool_dir or self.state_dir / SPOOL_NAME

    def recipe(self, root: RootSettings | None = None) -> str:
        """Return 12 hex digits over everything that changes pixels (recipes.py), of the station or of a root."""
        return recipe_of(self.restore_options(root), has_big_lama=self.inpaint.big_lama_path is not None)


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
    return _parse(table, ConfigSource(path, text, dict(os.environ)))


def _parse(table: Mapping[str, Any], source: ConfigSource) -> Settings:
    """Build the settings from file and environment, or raise with all problems, in the order of the file."""
    # Unknown names at the top are taken out first: BaseSettings reads keyword arguments such as `_env_file` itself.
    known = {name: value for name, value in table.items() if name in Settings.model_fields}
    problems = [(source.order((name,)), unknown_key(Settings, source, (name,))) for name in table if name not in known]
    last = len(source.text)
    try:
        known = merged(known, EnvSettingsSource(Settings)())
    except SettingsError as error:
        problems.append(
            (last, f"environment: {error}; JSON expected, as in {ENV_PREFIX}WATCH__EXTENSIONS='[\".tif\"]'.")
        )
    settings, found = validate(Settings, known, source)
    problems += found
    if settings is not None:
        settings._config_path = source.path
        refused = known.keys() - settings.model_fields_set
        settings = _with_absolute_paths(settings, source.path)
        problems += _root_problems(settings, source, refused)
    problems += [(last, problem) for problem in unknown_environment(Settings, source.environ)]
    if problems or settings is None:
        raise ConfigError(*(line for _, line in sorted(problems, key=lambda problem: problem[0])))
    return settings


def _root_problems(settings: Settings, source: ConfigSource, refused: Collection[str]) -> list[Placed]:
    """Return what is wrong with the roots together and with their profiles. `refused`: top keys that were taken out.

    Folders are compared by name; those that reach each other through links are found when they are opened.
    """
    problems: list[Placed] = []

    def blame(place: KeyPath, text: str) -> None:
        problems.append((source.order(place), f"{source.place(place)}: {dotted(place)}: {text}"))

    is_worker = settings.is_clustered and bool(settings.shares)
    found = [*missing_roots(settings.roots, is_worker=is_worker, refused=refused), *shares_taken_twice(settings.shares)]
    if settings.is_clustered and "shares" not in refused:
        found += roots_out_of_shares(settings.roots, settings.shares, source.path.parent)
    for place, text in found:
        blame(place, text)
    seen: dict[str, int] = {}
    for index, root in enumerate(settings.roots):
        if root.name in seen:
            taken = seen[root.name]
            blame(("roots", index, "name"), f"{root.name!r} came; it is taken by roots[{taken}]; give another.")
        seen.setdefault(root.name, index)
    folders = [(root.input, root.output) for root in settings.roots]
    for overlap in find_overlaps(folders, lies_in_by_name):
        blame(("roots", overlap.root, overlap.key), overlap.sentence)
    for index, root in enumerate(settings.roots):
        problems += word_rules(root.broken_rules(settings.mask, settings.inpaint), source, ("roots", index))
        for place, own in ((("state_dir",), settings.state_dir), (("watch", "spool_dir"), settings.watch.spool_dir)):
            if own is not None and lies_in_by_name(own, root.input):
                blame(place, f"{own} lies in input {root.input}; nothing but the marker is ever written there.")
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
            "watch": settings.watch.model_copy(update={"spool_dir": optional(settings.watch.spool_dir)}),
            "roots": roots,
            "shares": tuple(share.model_copy(update={"path": absolute(share.path)}) for share in settings.shares),
            "cluster": settings.cluster.model_copy(update={"password_file": optional(settings.cluster.password_file)}),
            "inpaint": settings.inpaint.model_copy(update={"big_lama_path": optional(settings.inpaint.big_lama_path)}),
            "review": settings.review.model_copy(update={"token_file": optional(settings.review.token_file)}),
            "log": settings.log.model_copy(update={"file": optional(settings.log.file)}),
        }
    )


def _syntax_problem(path: Path, text: str, message: str) -> str:
    """Turn tomllib's "… (at line 3, column 7)" into file:line."""
    found = SYNTAX_PLACE.search(message)
    line = int(found["line"]) if found and found["line"] else max(len(text.splitlines()), 1)
    lines = text.splitlines()
    written = hide_password(lines[line - 1].strip())[:SHOWN_LINE] if 0 < line <= len(lines) else ""
    return (
        f"{path}:{line}: not TOML: {SYNTAX_PLACE.sub('', message)}. The line: {written!r}. "
        "Texts stand in quotes, numbers without quotes and unit."
    )
