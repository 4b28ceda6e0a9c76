"""Which file belongs to which scan, told by names."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlessd.companions.names import CompanionName, CompanionRules, Part, ending_beside
from spotlessd.companions.pairing import Pairs
from spotlessd.folders.roots import Candidate

RULES = CompanionRules()
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def candidates(*rels: str) -> list[Candidate]:
    return [
        Candidate("scans", rel, Path("/scans") / rel, 1, 1, 1, RULES.parse(PurePosixPath(rel).name)) for rel in rels
    ]


def companions(scan: str, *rels: str) -> list[str]:
    return [found.rel for found in Pairs(candidates(scan, *rels)).companions_of(scan)]


@pytest.mark.parametrize(
    ("name", "part", "stem", "ending"),
    [
        ("frame_IR.tif", Part.INFRARED, "frame", "_IR.tif"),
        ("frame-ir.TIFF", Part.INFRARED, "frame", "-ir.TIFF"),
        ("Frame 1_Ir.tiff", Part.INFRARED, "Frame 1", "_Ir.tiff"),
        ("frame_IR_VALID.tif", Part.VALIDITY, "frame", "_IR_VALID.tif"),
        ("frame.XMP", Part.PLAIN, "frame", ".XMP"),
        ("frame.tif.xmp", Part.PLAIN, "frame.tif", ".xmp"),
    ],
)
def test_a_companions_name_is_taken_apart(name: str, part: Part, stem: str, ending: str) -> None:
    assert RULES.parse(name) == CompanionName(part, stem, ending)


@pytest.mark.parametrize(
    "name", ["frame.tif", "fir.tif", "_IR.tif", "frame_IR.png", "frame_IR2.tif", "frame.txt", "IR"]
)
def test_other_names_are_no_companions(name: str) -> None:
    assert RULES.parse(name) is None


def test_without_endings_every_tiff_is_a_scan() -> None:
    assert CompanionRules(infrared_endings=()).parse("beach_IR.tif") is None


@pytest.mark.parametrize(
    ("scan", "sidecar"),
    [
        ("frame.tif", "frame_IR.tif"),
        ("FRAME.TIF", "frame_ir.tif"),
        ("roll 1/ä b.tif", "roll 1/ä b-IR.tiff"),
        (f"{COMPOSED}.tif", f"{DECOMPOSED}_IR.tif"),
        ("frame.jpg", "frame_IR.tif"),
        ("a.b.tif", "a.b_IR.tif"),
    ],
)
def test_a_sidecar_belongs_to_the_scan_of_its_name(scan: str, sidecar: str) -> None:
    assert companions(scan, sidecar) == [sidecar]


@pytest.mark.parametrize("other", ["roll/frame_IR.tif", "frame2_IR.tif", "fram_IR.tif", "frame.tif_IR.tif"])
def test_a_sidecar_of_another_name_or_folder_does_not(other: str) -> None:
    assert companions("frame.tif", other) == []


def test_a_sidecar_belongs_to_one_scan_the_tiff_before_the_others() -> None:
    pairs = Pairs(candidates("frame.jpg", "frame.tif", "frame_IR.tif"))

    assert [found.rel for found in pairs.companions_of("frame.tif")] == ["frame_IR.tif"]
    assert pairs.companions_of("frame.jpg") == []


def test_scans_that_differ_in_case_each_have_their_own_sidecar() -> None:
    pairs = Pairs(candidates("A.tif", "a.tif", "a_IR.tif", "A_IR.tif"))

    assert [found.rel for found in pairs.companions_of("A.tif")] == ["A_IR.tif"]
    assert [found.rel for found in pairs.companions_of("a.tif")] == ["a_IR.tif"]


def test_metadata_goes_with_every_scan_of_its_name_or_with_the_one_it_names_in_full() -> None:
    pairs = Pairs(candidates("frame.jpg", "frame.tif", "frame.xmp", "frame.tif.xmp"))

    assert [found.rel for found in pairs.companions_of("frame.tif")] == ["frame.tif.xmp", "frame.xmp"]
    assert [found.rel for found in pairs.companions_of("frame.jpg")] == ["frame.xmp"]


def test_the_ending_of_a_full_name_keeps_both_suffixes() -> None:
    name = RULES.parse("frame.tif.xmp")
    assert name is not None

    assert ending_beside(name, "frame.tif") == ".tif.xmp"
    assert ending_beside(CompanionName(Part.PLAIN, "frame", ".xmp"), "frame.tif") == ".xmp"


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_a_sidecars_name_is_its_stem_and_its_ending_whatever_the_name(stem: str) -> None:
    name = RULES.parse(f"{stem}_IR.tif")

    assert name is not None
    assert name.stem + name.ending == f"{stem}_IR.tif"


@given(
    st.lists(
        st.builds(
            "{}{}".format,
            st.sampled_from(["a", "A", "b", "b_IR"]),
            st.sampled_from([".tif", ".TIF", ".jpg", "_IR.tif", "-ir.tif", "_ir.TIFF", ".xmp", "_IR_VALID.tif"]),
        ),
        unique=True,
    )
)
def test_every_sidecar_has_one_scan_at_most_and_both_sides_agree(names: list[str]) -> None:
    found = candidates(*names)
    pairs = Pairs(found)
    owners: dict[str, list[str]] = {}
    for scan in found:
        for companion in pairs.companions_of(scan.rel):
            owners.setdefault(companion.rel, []).append(scan.rel)

    for candidate in found:
        if candidate.companion is None:
            continue
        scan = pairs.scan_of(candidate.rel)
        assert (scan is not None) == (candidate.rel in owners)
        if candidate.companion.is_sidecar and scan is not None:
            assert owners[candidate.rel] == [scan.rel]
