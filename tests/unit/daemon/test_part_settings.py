"""The parts of a station get what the settings say, and nothing restarts for what does not concern it."""

from pathlib import Path

import pytest

from spotless_core.options import DeviceChoice, InpaintMethod, InpaintOptions
from spotlessd import devices
from spotlessd.configuration.parts import dispatch_settings, worker_setup, worker_setups
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import ConfigError
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


def test_each_gpu_that_the_config_names_gets_a_worker_that_must_use_it(tmp_path: Path) -> None:
    setups = worker_setups(load(tmp_path, ROOTS + '[device]\ngpus = [1, "GPU-1234abcd-0000"]\n'))

    assert [setup.name for setup in setups] == ["GPU 1", "GPU-1234abcd"]
    assert [dict(setup.environment)["CUDA_VISIBLE_DEVICES"] for setup in setups] == ["1", "GPU-1234abcd-0000"]
    assert {setup.device.device for setup in setups} == {DeviceChoice.CUDA}


def test_without_gpus_there_is_one_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = load(tmp_path, ROOTS)

    assert worker_setups(settings) == (worker_setup(settings),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('gpus = [0]\ndevice = "cpu"', "the device is cpu; auto or cuda expected"),
        ("gpus = [0, 0]", "one is named twice"),
        ('gpus = ["first"]', "a GPU's number or UUID"),
        ("gpus = [-1]", "a GPU's number or UUID"),
        ("gpus = [true]", "expected: a valid string"),
    ],
)
def test_gpus_that_make_no_sense_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=r"device\.gpus") as refused:
        load(tmp_path, ROOTS + f"[device]\n{text}\n")

    assert sentence in str(refused.value)


def test_several_workers_share_the_cores_and_one_has_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: set(range(9)), raising=False)
    four = "[device]\ngpus = [0, 1, 2, 3]\n"

    alone = worker_setups(load(tmp_path, ROOTS + '[device]\ndevice = "cpu"\n'))
    shared = worker_setups(load(tmp_path, ROOTS + four))
    given = worker_setups(load(tmp_path, ROOTS + four + "threads = 5\n"))
    more_workers_than_cores = devices.share_of_cores(20)

    assert [setup.device.threads for setup in alone] == [0]
    assert [setup.device.threads for setup in shared] == [2, 2, 2, 2]
    assert [setup.device.threads for setup in given] == [5, 5, 5, 5]
    assert more_workers_than_cores == 1
