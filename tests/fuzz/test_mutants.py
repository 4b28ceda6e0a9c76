"""Ten thousand damaged files of each format: refused with a sentence or restored soundly, never a crash, hang or bomb.

More of them: SPOTLESS_FUZZ=1 runs half a million each. A finding names the mutant; `fuzz/child.py` says how to repeat
it.
"""

import os
from pathlib import Path

import pytest
from fuzz import child
from fuzz.child import handle
from fuzz.mutators import make_mutant
from fuzz.runner import fuzz
from fuzz.seeds import SEEDS, draw_seeds

from spotless_core.errors import ScanError
from spotless_core.image_io.turbojpeg import is_available

MUTANTS = 10_000
MANY = int(os.environ.get("SPOTLESS_FUZZ_MUTANTS", "500000"))
"""Mutants of a long run; they come after those of the short one."""


@pytest.mark.parametrize("kind", SEEDS)
def test_a_sound_seed_is_restored_or_refused_as_unsupported(kind: str, tmp_path: Path) -> None:
    outcomes = []
    for seed in draw_seeds(kind):
        (tmp_path / "seed").write_bytes(seed)
        outcomes.append(handle(tmp_path / "seed", tmp_path / "restored"))

    assert set(outcomes) <= {"restored", "UnsupportedScanError"}
    assert outcomes.count("restored") >= len(outcomes) // 2 or (kind == "jpeg" and not is_available())


@pytest.mark.parametrize("kind", SEEDS)
def test_ten_thousand_mutants_end_in_a_sentence_or_a_sound_file(kind: str, tmp_path: Path) -> None:
    report = fuzz(kind, 0, MUTANTS, tmp_path)

    assert not report.findings, "\n".join(report.findings[:20])
    assert report.outcomes.total() == MUTANTS
    # Some damage must pass the header check, or nothing behind it was tried.
    assert report.outcomes["restored"] > MUTANTS // 50 or (kind == "jpeg" and not is_available())
    print(f"{kind}: {MUTANTS / report.seconds:.0f} mutants/s, {report.added_mb:.0f} MB added, {dict(report.outcomes)}")


@pytest.mark.fuzz
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", SEEDS)
def test_many_mutants_end_in_a_sentence_or_a_sound_file(kind: str, tmp_path: Path) -> None:
    report = fuzz(kind, MUTANTS, MANY, tmp_path, limit_seconds=MANY / 50)

    assert not report.findings, "\n".join(report.findings[:100])
    assert report.outcomes.total() == MANY


def test_the_same_number_gives_the_same_mutant() -> None:
    one, again = (make_mutant(draw_seeds("tiff"), 4711) for _ in range(2))

    assert one == again
    assert one not in draw_seeds("tiff")


@pytest.mark.parametrize(
    ("misdeed", "words"),
    [
        ("abort", "ends the process (SIGABRT)"),
        ("hang", "hangs"),
        ("raise_foreign", "KeyError: 'no sentence'"),
        ("eat_memory", " MB for "),
        ("write_to_scan", "the scan itself was written to"),
    ],
)
def test_a_reader_that_misbehaves_is_found_and_the_mutant_named(misdeed: str, words: str, tmp_path: Path) -> None:
    report = fuzz("png", 0, 5, tmp_path, reader=f"fuzz.bad_readers:{misdeed}")

    (finding,) = report.findings
    assert finding.startswith("png mutant 2")
    assert words in finding


def test_an_error_without_a_sentence_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, *, allow_transcode: bool) -> None:
        assert allow_transcode
        raise ScanError("oops")

    monkeypatch.setattr(child, "open_scan", refuse)

    with pytest.raises(AssertionError, match="no sentence: oops"):
        handle(tmp_path / "scan", tmp_path / "restored")
