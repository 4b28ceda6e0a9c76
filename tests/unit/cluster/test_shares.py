"""Paths that mean the same on machines with other mounts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlessd.cluster.shares import NoShareError, Place, Shares

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."}
)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_a_path_comes_back_and_keeps_its_name_on_another_machine(names: list[str]) -> None:
    here, there = Shares({"archive": Path("/mnt/archive")}), Shares({"archive": Path("/Volumes/archive")})
    path = Path("/mnt/archive", *names)
    place = here.place_of(path)
    assert here.path_of(place) == path
    assert there.path_of(place) == Path("/Volumes/archive", *names)


def test_the_innermost_share_counts() -> None:
    shares = Shares({"all": Path("/mnt"), "rolls": Path("/mnt/rolls")})
    assert shares.place_of(Path("/mnt/rolls/1/a.tif")) == Place("rolls", "1/a.tif")
    assert shares.place_of(Path("/mnt/rolls2/a.tif")) == Place("all", "rolls2/a.tif")
    assert shares.place_of(Path("/mnt/rolls")) == Place("rolls", "")


def test_a_path_outside_of_all_shares_is_named_with_the_shares() -> None:
    with pytest.raises(NoShareError, match=r"/home/a\.tif lies in no share \(/mnt\); add one to \[\[shares\]\]"):
        Shares({"all": Path("/mnt")}).place_of(Path("/home/a.tif"))


@pytest.mark.parametrize("rel", ["../secret", "a/../../b", "/etc/passwd", "a\0b"])
def test_nothing_leaves_its_share(rel: str) -> None:
    with pytest.raises(NoShareError, match="would leave the share"):
        Shares({"all": Path("/mnt")}).path_of(Place("all", rel))


def test_a_path_that_may_leave_its_share_is_not_named() -> None:
    with pytest.raises(NoShareError, match=r"has '\.\.' in it"):
        Shares({"all": Path("/mnt")}).place_of(Path("/mnt/../etc/passwd"))


def test_composed_and_decomposed_letters_stay_what_they_are() -> None:
    shares = Shares({"all": Path("/mnt")})
    names = {"\u00e4.tif", "a\u0308.tif", "back\\slash.tif"}
    assert {shares.path_of(shares.place_of(Path("/mnt") / name)).name for name in names} == names


def test_a_share_that_this_machine_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(NoShareError, match=r"no share 'rolls' \(it has: all\)"):
        Shares({"all": Path("/mnt")}).path_of(Place("rolls", "a.tif"))


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(NoShareError, match="not UTF-8"):
        Shares({"all": Path("/mnt")}).place_of(Path("/mnt/\udcff.tif"))
