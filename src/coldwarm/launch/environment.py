"""The environment of a start: the variables that it inherits, those that coldwarm sets, and those that are recorded."""

from __future__ import annotations

import os
import re
import site
from collections.abc import Container, Mapping
from pathlib import Path

from coldwarm.core.secrets import Secrets
from coldwarm.core.variables import OBSERVATION_VARIABLE, REQUEST_VARIABLE, TOKEN_VARIABLE
from coldwarm.engines.base import vocabularies
from coldwarm.launch.cache_variables import DOWNLOADS, ISOLATED, REMOTE
from coldwarm.launch.caches import Caches

# Has a sitecustomize.py, with which each Python process of a command is observed.
_STARTUP = Path(__file__).parents[1] / "engines" / "startup"

_ENGINES = "|".join(vocabulary.prefix for vocabulary in vocabularies())
# Variables that change what is compiled, how, or with which key.
_CHANGES_COMPILATION = re.compile(
    rf"^(({_ENGINES}|TORCH|PYTORCH|TRITON|INDUCTOR|AOT|FLASHINFER|OMP|KMP|MKL)[A-Z0-9]*_.*"
    r"|CUDA_HOME|CUDA_VISIBLE_DEVICES|NVIDIA_TF32_OVERRIDE|CC|CXX|CFLAGS|CXXFLAGS|LDFLAGS|LD_PRELOAD|PYTHONHASHSEED)$"
)

OF_ONE_START = ISOLATED | {"TORCH_TRACE", TOKEN_VARIABLE, REQUEST_VARIABLE, OBSERVATION_VARIABLE}
"""Variables that coldwarm sets differently for each start."""

SOCKETS = frozenset(name for vocabulary in vocabularies() for name in vocabulary.caches.sockets)
"""Variables that name the folder for sockets. coldwarm sets them only if the user has not, and only if it must."""

# If these replace a value of the user, this is recorded.
_SET_BY_COLDWARM = OF_ONE_START | {"COLDWARM_COMPILATION"}


def environment_of_start(
    caches: Caches,
    trace: Path,
    request: Path,
    *,
    compilation: str,
    token: str,
    engine_defaults: Mapping[str, str],
    user: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return the environment of a worker.

    Args:
        caches: Where every cache goes.
        trace: The folder for PyTorch's structured trace.
        request: The file of the `StartRequest`.
        compilation: ``piecewise`` or ``shipped``; read by coldwarm's plugin of the engine in the worker.
        token: Marks every process of the start, so that all of them can be ended.
        engine_defaults: Variables that the engine needs; the user's values take precedence.
        user: The environment to start from.
    """
    environment = _isolated({**engine_defaults, **user}, caches, user)
    environment["TORCH_TRACE"] = str(trace)
    environment[REQUEST_VARIABLE] = str(request)
    environment["COLDWARM_COMPILATION"] = compilation
    environment[TOKEN_VARIABLE] = token
    return _with_plugins(environment)


def environment_of_command(
    caches: Caches,
    trace: Path,
    observation: Path,
    *,
    compilation: str,
    token: str,
    user: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return the environment of a user's command that is started with caches of coldwarm's own.

    Models that the user has downloaded are inputs, and stay where they are.

    Args:
        caches: Where every cache goes.
        trace: The folder for PyTorch's structured trace.
        observation: The file of the `ObservationRequest`.
        compilation: ``piecewise`` or ``shipped``; read by coldwarm's plugin of the engine.
        token: Marks every process of the start, so that all of them can be ended.
        user: The environment to start from.
    """
    environment = _isolated(user, caches, user)
    for name in DOWNLOADS:
        environment.pop(name, None)
    environment["HF_HOME"] = str(Path(user.get("XDG_CACHE_HOME") or _home(user) / ".cache", "huggingface"))
    environment |= {name: user[name] for name in DOWNLOADS if name in user}
    return _with_plugins({**environment, **observed(environment, trace, observation, compilation, token)})


def observed(user: Mapping[str, str], trace: Path, observation: Path, compilation: str, token: str) -> dict[str, str]:
    """Return the variables with which the processes of a user's command are observed; the arguments are as above."""
    paths = [str(_STARTUP), *filter(None, [user.get("PYTHONPATH")])]
    return {
        "TORCH_TRACE": str(trace),
        OBSERVATION_VARIABLE: str(observation),
        "COLDWARM_COMPILATION": compilation,
        TOKEN_VARIABLE: token,
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _isolated(environment: Mapping[str, str], caches: Caches, user: Mapping[str, str]) -> dict[str, str]:
    isolated = {name: value for name, value in environment.items() if name not in REMOTE}
    # The name of the current test; with it, each test would have a different environment.
    isolated.pop("PYTEST_CURRENT_TEST", None)
    # With another home folder, packages that the user installed with `pip install --user` must still be found.
    isolated.setdefault("PYTHONUSERBASE", site.getuserbase())
    if "PYTHONPATH" in isolated:
        # The start runs in a different folder, where a relative path would be a different one.
        paths = isolated["PYTHONPATH"].split(os.pathsep)
        isolated["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths)
    return isolated | caches.environment(user)


def _with_plugins(environment: dict[str, str]) -> dict[str, str]:
    for vocabulary in vocabularies():
        environment |= vocabulary.keep_plugins(environment)
    return environment


def _home(user: Mapping[str, str]) -> Path:
    return Path(user.get("HOME") or Path.home())


def recorded(user: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the user's variables that change compilation and are passed to the start, with masked secrets."""
    changing = {
        name: value
        for name, value in sorted(user.items())
        if _CHANGES_COMPILATION.match(name) and name not in _SET_BY_COLDWARM
    }
    shown = Secrets(user).environment(changing)
    return {name: value.encode("utf-8", "backslashreplace").decode() for name, value in shown.items()}


def overridden(user: Mapping[str, str] = os.environ, kept: Container[str] = ()) -> list[str]:
    """Return the names of the user's variables that a start does not see, because coldwarm sets its own value.

    Args:
        user: The user's environment.
        kept: Names of variables that the start sees nevertheless.
    """
    in_every_environment = {"HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"}
    shown = _SET_BY_COLDWARM - in_every_environment
    return sorted(name for name in user if name in shown and name not in kept)
