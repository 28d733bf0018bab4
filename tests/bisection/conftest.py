"""What the tests of bisections share: a model whose start depends on the release that is on the path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.records import tiny_config


@pytest.fixture
def config(commands: Commands) -> Path:
    """A model that the fake engine compiles as its release does."""
    path = commands.folder / "model" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(tiny_config(behaves="as released")))
    return path
