"""On which devices workers are put: the GPUs as the environment, the driver's folder and the config name them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from spotless_core.options import DeviceChoice
from spotlessd.devices import Post, posts

NOTHING = Path("/no/such/folder")
BY_BUS = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
UUIDS = ("GPU-11111111-aaaa-bbbb-cccc-dddddddddddd", "GPU-22222222-aaaa-bbbb-cccc-dddddddddddd")
UNKNOWN = "GPU-????????-????-????-????-????????????"


def driver(folder: Path, uuids: Sequence[str]) -> Path:
    """The folder that NVIDIA's driver shows, with one GPU for each UUID."""
    for number, uuid in enumerate(uuids):
        place = folder / f"0000:{number + 1:02x}:00.0"
        place.mkdir()
        (place / "information").write_text(
            f"Model: \t\t NVIDIA Test\nIRQ:   \t\t 42\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\n"
        )
    return folder


def shown(found: tuple[Post, ...]) -> list[str]:
    return [dict(post.environment).get("CUDA_VISIBLE_DEVICES", "") for post in found]


@pytest.mark.parametrize("device", [DeviceChoice.CPU, DeviceChoice.MPS])
def test_other_devices_have_one_worker_whose_environment_is_left_alone(tmp_path: Path, device: DeviceChoice) -> None:
    assert posts(device, environ={}, driver_folder=driver(tmp_path, UUIDS)) == (Post(),)


def test_a_machine_without_the_driver_has_one_worker() -> None:
    assert posts(DeviceChoice.AUTO, environ={}, driver_folder=NOTHING) == (Post(),)


def test_one_gpu_has_one_worker_whose_environment_is_left_alone(tmp_path: Path) -> None:
    assert posts(DeviceChoice.AUTO, environ={}, driver_folder=driver(tmp_path, UUIDS[:1])) == (Post(),)


def test_each_gpu_has_a_worker_that_sees_it_alone(tmp_path: Path) -> None:
    found = posts(DeviceChoice.CUDA, environ={}, driver_folder=driver(tmp_path, UUIDS))

    assert shown(found) == list(UUIDS)
    assert [post.name for post in found] == ["GPU-11111111", "GPU-22222222"]


def test_gpus_that_nothing_has_used_yet_have_no_uuid_and_go_by_their_place_on_the_bus(tmp_path: Path) -> None:
    found = posts(DeviceChoice.AUTO, environ={}, driver_folder=driver(tmp_path, (UUIDS[0], UNKNOWN)))

    assert [post.environment for post in found] == [
        (("CUDA_VISIBLE_DEVICES", "0"), BY_BUS),
        (("CUDA_VISIBLE_DEVICES", "1"), BY_BUS),
    ]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("", [""]),
        ("-1", [""]),
        ("NoDevFiles", [""]),
        ("1", [""]),
        ("1,0", ["1", "0"]),
        (" 0 , 1 ", ["0", "1"]),
        ("0,-1,1", [""]),  # CUDA stops at the first that names nothing
        ("0,1,1", ["0", "1"]),
        ("0,1,7", ["0", "1"]),  # the driver has two
        (",".join(UUIDS), list(UUIDS)),
        ("GPU-1111,MIG-2222", ["GPU-1111", "MIG-2222"]),
    ],
)
def test_what_the_environment_shows_is_respected(tmp_path: Path, variable: str, expected: list[str]) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": variable}

    found = posts(DeviceChoice.AUTO, environ=environ, driver_folder=driver(tmp_path, UUIDS))

    assert shown(found) == expected


def test_numbers_of_the_environment_keep_the_environments_order() -> None:
    found = posts(DeviceChoice.AUTO, environ={"CUDA_VISIBLE_DEVICES": "0,1"}, driver_folder=NOTHING)

    assert [post.environment for post in found] == [
        (("CUDA_VISIBLE_DEVICES", "0"),),
        (("CUDA_VISIBLE_DEVICES", "1"),),
    ]


def test_gpus_that_the_config_names_win_over_the_environment() -> None:
    found = posts(DeviceChoice.AUTO, ("2", UUIDS[0]), {"CUDA_VISIBLE_DEVICES": "0"}, NOTHING)

    assert shown(found) == ["2", UUIDS[0]]
    assert [post.name for post in found] == ["GPU 2", "GPU-11111111"]


def test_one_gpu_that_the_config_names_is_the_one_that_is_used() -> None:
    found = posts(DeviceChoice.CUDA, ("1",), {}, NOTHING)

    assert found == (Post("GPU 1", (("CUDA_VISIBLE_DEVICES", "1"), BY_BUS)),)
