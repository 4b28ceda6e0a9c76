"""The parts of a station get what the settings say, and nothing restarts for what does not concern it."""

from pathlib import Path

from spotless_core.options import InpaintMethod, InpaintOptions
from spotlessd.configuration.parts import dispatch_settings, worker_setup
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.folders.station_roots import open_roots

ROOTS = '[[roots]]\nname = "a"\ninput = "a"\noutput = "x"\n[[roots]]\nname = "b"\ninput = "b"\noutput = "x"\n'


def load(folder: Path, text: str) -> Settings:
    path = folder / "spotlessd.toml"
    path.write_text(text)
    return load_settings(path)


def test_the_worker_loads_each_way_of_filling_that_a_folder_asks_for_once(tmp_path: Path) -> None:
    plain = worker_setup(load(tmp_path, ROOTS))
    mixed = worker_setup(load(tmp_path, ROOTS + '[roots.inpaint]\nmethod = "telea"\n'))
    all_telea = worker_setup(
        load(
            tmp_path,
            ROOTS.replace('[[roots]]\nname = "b"', '[roots.inpaint]\nmethod = "telea"\n[[roots]]\nname = "b"')
            + '[roots.inpaint]\nmethod = "telea"\n',
        )
    )

    assert (plain.inpaint, plain.more_inpaints) == (InpaintOptions(), ())
    assert (mixed.inpaint.method, [each.method for each in mixed.more_inpaints]) == ("auto", ["telea"])
    assert (all_telea.inpaint, all_telea.more_inpaints) == (InpaintOptions(InpaintMethod.TELEA), ())


def test_a_budget_of_the_repair_does_not_restart_the_worker(tmp_path: Path) -> None:
    before = worker_setup(load(tmp_path, ROOTS))

    after = worker_setup(load(tmp_path, "[inpaint]\nmax_hole_um = 300\n" + ROOTS + "[roots.inpaint]\ngrain = false\n"))

    assert after == before


def test_every_folder_has_its_options_and_the_copies_their_place(tmp_path: Path) -> None:
    settings = load(tmp_path, 'watch.spool_dir = "fast"\n' + ROOTS + '[roots.mask]\nsensitivity = "high"\n')

    dispatch = dispatch_settings(settings, open_roots(settings), is_eager=False)

    assert {name: options.mask.sensitivity for name, options in dispatch.profiles.items()} == {
        "a": "normal",
        "b": "high",
    }
    assert dispatch.spool_dir == tmp_path / "fast"
    assert load(tmp_path, ROOTS).spool_dir == tmp_path / "state" / "spool"
