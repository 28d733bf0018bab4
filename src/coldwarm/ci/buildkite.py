"""Generates a Buildkite pipeline: https://buildkite.com/docs/pipelines/configure/step-types/command-step."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from coldwarm.ci.step import ARTIFACTS, CHANGES, SUMMARY, Step
from coldwarm.ci.yaml_text import yaml_text


def pipeline(steps: Sequence[Step]) -> str:
    """Return `steps` as a pipeline, for `buildkite-agent pipeline upload`."""
    comment = "Printed by `coldwarm ci buildkite`"
    if any(step.paths for step in steps):
        comment += "; `if_changed` needs `buildkite-agent pipeline upload` (agent 3.99 or later)"
    if any(step.accepted is not None for step in steps):
        comment += "; create a schedule for it in the settings of the pipeline"
    return yaml_text({"steps": [_step(step) for step in steps]}, comment=f"{comment}.")


def _step(step: Step) -> dict[str, Any]:
    content: dict[str, Any] = {
        "label": step.title,
        "key": step.key,
        "agents": {"queue": step.queue, "device": step.label},
        "timeout_in_minutes": step.minutes,
    }
    if step.paths:
        content["if_changed"] = list(step.paths)
    annotate = f"buildkite-agent annotate --context {step.key} --style info"
    show = f"test ! -s {SUMMARY} || {annotate} < {SUMMARY}"
    if step.accepted is not None:
        # What changed comes first, also if the suite failed. If there is nothing to compare, the step ends as it did.
        show = f"{step.comparison()} || true; cat {CHANGES} {SUMMARY} | {annotate} || true"
    return {
        **content,
        "command": "\n".join(
            # Show the table on the build's page, however the suite ends. The script has no variables, because Buildkite
            # would substitute them when the pipeline is uploaded.
            [*step.setup, f"trap {shlex.quote(show)} EXIT", step.command(), ""]
        ),
        "artifact_paths": list(ARTIFACTS),
    }
