from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coldwarm.observe.import_root import import_root


@pytest.mark.parametrize(
    ("file", "root"),
    [
        ("/site/torch/a.py", "/site"),
        ("/site/vendored/x/a.py", "/site/vendored"),
        ("/site/vendored-2/a.py", "/site"),
        ("/ends-with/a.py", "/ends-with"),
        ("/elsewhere/a.py", None),
        ("a.py", None),
    ],
)
def test_the_longest_entry_that_contains_the_file_is_its_root(
    file: str, root: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored: list[object] = ["", Path("/elsewhere"), b"/elsewhere", None]
    monkeypatch.setattr(sys, "path", [*ignored, "/site", "/site/vendored", "/ends-with/"])
    assert import_root(file) == root
