"""The `[[roots]]` of the configuration file: a watched folder, where its results go, and its own profile.

A profile is what differs from the station's tables `mask` and `inpaint`: only the keys that are given. The rest is the
station's. What a profile and the station's tables make together keeps the core's rules, or is a problem of the config.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PrivateAttr

from spotless_core.options import FilmFormat, InpaintMethod, InpaintOptions, MaskOptions, Sensitivity
from spotlessd.configuration.problems import NAME_PATTERN
from spotlessd.configuration.sections import InpaintSettings, MaskSettings, Number, Section, Whole, broken_rules


class RootMaskSettings(Section):
    """What differs from the table `mask`."""

    sensitivity: Sensitivity | None = None
    min_speck_um: Number | None = None
    max_speck_um: Number | None = None
    max_length_um: Number | None = None
    max_width_um: Number | None = None
    grow_um: Number | None = None
    max_coverage: Number | None = None
    faint_lines: bool | None = None

    def over(self, station: MaskSettings) -> MaskSettings:
        """Return the station's table with these keys in it."""
        return station.model_copy(update=self.model_dump(exclude_none=True))


class RootInpaintSettings(Section):
    """What differs from the table `inpaint`. Weights of lama-cleaner are the station's."""

    method: InpaintMethod | None = None
    context_px: Annotated[Whole, Field(ge=0, le=4096)] | None = None
    grain: bool | None = None
    max_hole_um: Number | None = None
    max_seconds: Number | None = None

    def over(self, station: InpaintSettings) -> InpaintSettings:
        """Return the station's table with these keys in it."""
        return station.model_copy(update=self.model_dump(exclude_none=True))


class RootSettings(Section):
    """One watched folder and where its results go. `name` names it in commands and in the ledger.

    `priority`: scans of a folder with a higher one come first. `film_format` None: the station's.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)] = "scans"
    input: Path
    output: Path
    priority: Annotated[Whole, Field(ge=-100, le=100)] = 0
    film_format: FilmFormat | None = None
    mask: RootMaskSettings = RootMaskSettings()
    inpaint: RootInpaintSettings = RootInpaintSettings()
    _input_marker: str | None = PrivateAttr(default=None)

    @property
    def input_marker(self) -> str | None:
        """What stands in the input's marker: None for the station's id, "" for no marker. No key of the file."""
        return self._input_marker

    def known_by(self, input_marker: str) -> Self:
        """Return it with an input that carries this marker; "" for none."""
        known = self.model_copy()
        known._input_marker = input_marker
        return known

    def profile_values(self) -> dict[str, str]:
        """Return the keys that differ from the station's, with their values, as they are written in the file."""
        own = {} if self.priority == 0 else {"priority": str(self.priority)}
        own |= {} if self.film_format is None else {"film_format": str(self.film_format)}
        for name, table in (("mask", self.mask), ("inpaint", self.inpaint)):
            own |= {f"{name}.{key}": str(value) for key, value in table.model_dump(exclude_none=True).items()}
        return own

    def broken_rules(self, mask: MaskSettings, inpaint: InpaintSettings) -> list[str]:
        """Return the core's sentence for every rule that this profile breaks over the station's tables."""
        problems = broken_rules(self.mask.over(mask).model_dump(), MaskOptions)
        return problems + broken_rules(self.inpaint.over(inpaint).model_dump(), InpaintOptions)
