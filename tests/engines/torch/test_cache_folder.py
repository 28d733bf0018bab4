from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from coldwarm.engines.torch.cache_folder import cache_folder


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"TORCHINDUCTOR_CACHE_DIR": "/cache/inductor", "USER": "me"}, "/cache/inductor"),
        ({"USER": "me", "TMPDIR": "/scratch"}, "/scratch/torchinductor_me"),
        ({"USER": "me", "LOGNAME": "login"}, "/tmp/torchinductor_login"),
        ({"USER": "domain\\me"}, "/tmp/torchinductor_domain_me"),
        ({}, f"/tmp/torchinductor_{pwd.getpwuid(os.getuid()).pw_name}"),
    ],
)
def test_the_folder_is_that_of_inductor(environment: dict[str, str], folder: str) -> None:
    assert cache_folder(environment) == Path(folder)


def test_a_user_without_a_name_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", fail)
    assert cache_folder({}) is None
