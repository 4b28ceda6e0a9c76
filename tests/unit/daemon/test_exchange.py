"""Names exchanged between two versions, cut off between any two steps: no file is lost, all get there in the end."""

import json
from pathlib import Path

import pytest

from spotlessd.publishing import exchange
from spotlessd.publishing.exchange import ExchangePlan, carry_out, plan_exchange, prepare

OLDER = {"mask": "masks/a.png", "ir": "a_IR.tif", "receipt": "receipts/a.json"}
"""A held frame: no image. Its sidecar came along."""
NEWER = {"image": "a~2.tif", "mask": "masks/a~2.png", "receipt": "receipts/a~2.json"}
AFTER = {
    "a.tif": "image of the newer",
    "a~2_IR.tif": "ir of the older",
    "masks/a.png": "mask of the newer",
    "masks/a~2.png": "mask of the older",
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for names, version in ((OLDER, "older"), (NEWER, "newer")):
        for role, name in names.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{role} of the {version}")
        facts = {role: {"name": name} for role, name in names.items() if role != "receipt"}
        (tmp_path / names["receipt"]).write_text(json.dumps({"is": version, "outputs": facts}))
    return tmp_path


def found(output: Path) -> dict[str, str]:
    """Every file but the receipts."""
    files = (path for path in output.rglob("*") if path.is_file() and path.suffix != ".json")
    return {path.relative_to(output).as_posix(): path.read_text() for path in files}


def planned(output: Path) -> ExchangePlan:
    plan = plan_exchange(output, "a", NEWER, OLDER)
    assert plan is not None
    return ExchangePlan.from_values(json.loads(json.dumps(plan.to_values())))


def test_roles_that_one_version_lacks_go_with_the_other(output: Path) -> None:
    plan = planned(output)

    prepare(output, plan, {})
    carry_out(output, plan.begun())

    receipts = [json.loads((output / "receipts" / name).read_text()) for name in ("a.json", "a~2.json")]
    assert found(output) == AFTER
    assert [receipt["is"] for receipt in receipts] == ["newer", "older"]
    assert receipts[0]["outputs"] == {"image": {"name": "a.tif"}, "mask": {"name": "masks/a.png"}}
    assert receipts[1]["outputs"] == {"mask": {"name": "masks/a~2.png"}, "ir": {"name": "a~2_IR.tif"}}


@pytest.mark.parametrize("step", range(12))
def test_cut_off_after_any_step_and_done_again_comes_to_the_same(
    output: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    left = step

    def cut(_name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    plan = planned(output)
    contents = sorted(found(output).values())
    monkeypatch.setattr(exchange, "crash_point", cut)
    try:
        prepare(output, plan, {})
        plan = plan.begun()
        carry_out(output, plan)
    except KeyboardInterrupt:
        assert set(contents) <= set(found(output).values()), "nothing is lost meanwhile"
        assert (output / "masks/a.png").is_file()
        assert (output / "receipts/a.json").is_file()
    monkeypatch.undo()

    if not plan.is_begun:
        prepare(output, plan, {})
    carry_out(output, plan.begun())

    assert found(output) == AFTER
    assert json.loads((output / "receipts/a.json").read_text())["is"] == "newer"


def test_a_persons_own_file_in_the_way_leaves_the_names_as_they_are(output: Path) -> None:
    (output / "a.tif").write_text("mine")

    assert plan_exchange(output, "a", NEWER, OLDER) is None


def test_what_is_no_receipt_any_more_keeps_its_bytes(output: Path) -> None:
    (output / "receipts/a.json").write_text("scribbled over")
    plan = planned(output)

    prepare(output, plan, {})
    carry_out(output, plan.begun())

    assert (output / "receipts/a~2.json").read_text() == "scribbled over"
