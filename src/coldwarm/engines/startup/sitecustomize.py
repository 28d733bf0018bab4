"""Observes each Python process of a user's command, whose PYTHONPATH begins with the folder of this module.

Python imports it when it starts. It then imports the user's own ``sitecustomize``, which it would otherwise hide.
"""

# ruff: noqa: PTH100, PTH118, PTH120, PTH123
# No `Path`, because most Python processes of a command do not import pathlib.

import os
import sys


def _observe() -> None:
    try:
        from coldwarm.engines.observed import begin

        begin()
    except Exception as error:
        _report_failure(f"{type(error).__name__}: {error}")


def _report_failure(why: str) -> None:
    """Report that this process is not observed, for example because its Python does not have coldwarm."""
    import json

    try:
        with open(os.environ["COLDWARM_OBSERVATION"], encoding="utf-8") as file:
            reports = json.load(file)["reports"]
        name = os.path.join(reports, f"{os.getpid()}.unobserved")
        with open(name, "w", encoding="utf-8") as file:
            file.write(f"{why} ({sys.executable})")
    except (OSError, KeyError, ValueError):  # there is nowhere to report it
        return


def _run_the_users_own() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    hidden = [path for path in sys.path if os.path.abspath(path) != here]
    sys.path[:] = hidden
    this = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        # What is being imported must be in `sys.modules` when its import ends.
        if this is not None:
            sys.modules.setdefault("sitecustomize", this)


_observe()
_run_the_users_own()
