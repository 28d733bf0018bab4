from __future__ import annotations

import socket
from pathlib import Path

import pytest

from coldwarm.launch.sockets import socket_folder

UUID = "6f1c1b0e-2d57-4c1a-9a5e-0d8f6d3b2c11"
LONG = "/tmp/" + 70 * "x"


def test_a_start_with_a_long_temporary_folder_gets_a_short_one_for_its_sockets() -> None:
    with socket_folder({"TMPDIR": LONG}) as variables:
        folder = Path(variables["VLLM_RPC_BASE_PATH"])
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / UUID))
    assert not folder.exists()
    with socket.socket(socket.AF_UNIX) as listening, pytest.raises(OSError, match="path too long"):
        listening.bind(f"{LONG}/{UUID}")


@pytest.mark.parametrize(
    "environment", [{"TMPDIR": "/tmp/" + 60 * "x"}, {"TMPDIR": LONG, "VLLM_RPC_BASE_PATH": "/mine"}]
)
def test_others_do_not(environment: dict[str, str]) -> None:
    with socket_folder(environment) as variables:
        assert variables == {}
