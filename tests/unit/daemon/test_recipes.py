"""A recipe's digits stand in every ledger and receipt: other digits would mean that everything is done again."""

from pathlib import Path

import pytest

from spotlessd.configuration import recipes
from spotlessd.configuration.settings import load_settings

LAMA = '[inpaint]\nbig_lama_path = "/opt/big-lama.pt"\n'


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("", "2ce4c4aa63c7"),
        ('[mask]\nsensitivity = "high"\ngrow_um = 20.5\n', "9b7d70726ded"),
        (LAMA, "0d79ffcac847"),
        (LAMA + 'method = "telea"\n[output]\nmask_format = "tiff"\n', "8bef535d6ebd"),
    ],
)
def test_the_digits_stay_what_they_were(
    text: str, digits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "weights_fingerprint", lambda: "aa bb")
    path = tmp_path / "spotlessd.toml"
    path.write_text('[[roots]]\ninput = "scans"\noutput = "restored"\n' + text)

    assert load_settings(path).recipe() == digits
