"""Generates a GitHub Actions workflow: https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from coldwarm.ci.step import ARTIFACTS, CHANGES, SUMMARY, Step
from coldwarm.ci.yaml_text import yaml_text
from coldwarm.core.run_folder import SUITE

# All devices share one workflow, and GitHub's own `paths` filter would apply to all of its jobs.
_CHANGES = "changes"
_AT_NIGHT = "23 3 * * *"
"""In UTC; not at a full hour, when many schedules of others begin."""
_SUBMODULES = {"submodules": "recursive"}
"""What Buildkite's agents do by default: coldwarm, or the engine, may be a submodule."""


def workflow(steps: Sequence[Step]) -> str:
    """Return `steps` as a workflow, for ``.github/workflows/coldwarm.yml``."""
    filtered = [step for step in steps if step.paths]
    jobs = {_CHANGES: _changes_job(filtered)} if filtered else {}
    nightly = any(step.accepted is not None for step in steps)
    trigger: dict[str, Any] = {"schedule": [{"cron": _AT_NIGHT}]} if nightly else {"pull_request": {}}
    return yaml_text(
        {
            "name": "coldwarm nightly" if nightly else "coldwarm",
            "on": {**trigger, "workflow_dispatch": {}},
            "permissions": {"contents": "read"},
            "concurrency": {
                "group": f"coldwarm-{'nightly-' if nightly else ''}${{{{ github.ref }}}}",
                "cancel-in-progress": not nightly,
            },
            "jobs": {**jobs, **{step.key: _job(step) for step in steps}},
        },
        comment="Printed by `coldwarm ci github`.",
    )


def _changes_job(steps: Sequence[Step]) -> dict[str, Any]:
    """Return a job that outputs, for each of `steps`, whether one of its files changed."""
    lines = []
    for step in steps:
        globs = shlex.join(f":(glob){path}" for path in step.paths)
        lines += [
            f'if [ -z "$BASE" ] || ! git diff --quiet "$BASE"...HEAD -- {globs}; then',
            f'  echo "{step.key}=true" >> "$GITHUB_OUTPUT"',
            "fi",
        ]
    return {
        "runs-on": "ubuntu-latest",
        "timeout-minutes": 10,
        "outputs": {step.key: f"${{{{ steps.diff.outputs['{step.key}'] }}}}" for step in steps},
        "steps": [
            {"uses": "actions/checkout@v4", "with": {"fetch-depth": 0, **_SUBMODULES}},
            {
                "id": "diff",
                "name": "Find the steps whose files changed (all if started manually)",
                "env": {"BASE": "${{ github.event.pull_request.base.sha }}"},
                "run": "\n".join([*lines, ""]),
            },
        ],
    }


def _job(step: Step) -> dict[str, Any]:
    condition: dict[str, Any] = {}
    if step.paths:
        condition = {"needs": _CHANGES, "if": f"needs.{_CHANGES}.outputs['{step.key}'] == 'true'"}
    models = "every model" if step.whole_catalog else "the representative models"
    runner = ["self-hosted", step.queue, step.label] if step.device == "cuda" else step.queue
    return {
        "name": step.title,
        **condition,
        "runs-on": runner,
        "timeout-minutes": step.minutes,
        "steps": [
            {"uses": "actions/checkout@v4", "with": dict(_SUBMODULES)},
            *([{"name": "Set up", "run": "\n".join([*step.setup, ""])}] if step.setup else []),
            *([_restore(step.accepted, step.key)] if step.accepted is not None else []),
            {"name": f"Start {models} cold, then warm", "run": step.command()},
            *(_compare(step, step.accepted) if step.accepted is not None else []),
            {
                "name": "Add the results to the job summary",
                "if": "always()",
                "run": f'test ! -s {SUMMARY} || cat {SUMMARY} >> "$GITHUB_STEP_SUMMARY"',
            },
            {
                "name": "Upload records and reports",
                "if": "always()",
                "uses": "actions/upload-artifact@v4",
                "with": {
                    "name": step.key,
                    "path": "\n".join([*ARTIFACTS, ""]),
                    "if-no-files-found": "warn",
                },
            },
        ],
    }


def _restore(accepted: str, key: str) -> dict[str, Any]:
    """Return the step that gets the last accepted run from GitHub's cache."""
    return {
        "name": "Get the last accepted run",
        "uses": "actions/cache/restore@v4",
        "with": {
            "path": accepted,
            # A cache cannot be replaced: each run has a key of its own, and the latest with the prefix is restored.
            "key": f"{key}-accepted-${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}",
            "restore-keys": f"{key}-accepted-",
        },
    }


def _compare(step: Step, accepted: str) -> list[dict[str, Any]]:
    """Return the steps that show what changed, and keep the run if it can be accepted."""
    return [
        {
            "name": "Show what changed since the last accepted run",
            "if": "always()",
            "run": f'{step.comparison()}\ncat {CHANGES} >> "$GITHUB_STEP_SUMMARY"\n',
        },
        {
            "name": "Keep the last accepted run",
            "if": f"always() && hashFiles('{accepted}/{SUITE}') != ''",
            "uses": "actions/cache/save@v4",
            "with": {
                "path": accepted,
                "key": f"{step.key}-accepted-${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}",
            },
        },
    ]
