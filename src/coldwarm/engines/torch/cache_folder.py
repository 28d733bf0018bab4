"""The folder of PyTorch's compile caches."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

from coldwarm.core.user_paths import folder_of_setting

_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|]')


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the folder in which Inductor and AOTAutograd store what they compile (torch/_inductor/runtime,
    `cache_dir_utils.py`); None: it depends on the name of the user, who has none."""
    if named := environment.get("TORCHINDUCTOR_CACHE_DIR"):
        return folder_of_setting(named)
    login = next(filter(None, map(environment.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))), None)
    if login is None:
        try:
            login = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return None
    return Path(environment.get("TMPDIR") or "/tmp", f"torchinductor_{_NOT_IN_NAMES.sub('_', login)}")
