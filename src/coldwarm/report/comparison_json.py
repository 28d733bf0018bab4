"""Writes a comparison of two groups of runs as one JSON object, for scripts."""

from __future__ import annotations

import json
import math
from typing import Any

from coldwarm import __version__
from coldwarm.comparison.compare import RunComparison, SidesComparison
from coldwarm.comparison.seconds import SecondsChange
from coldwarm.core.exit_codes import ExitCode


def comparison_as_json(comparison: SidesComparison, exit_code: ExitCode) -> str:
    """Return the whole comparison, with the seconds of each start."""
    verdicts = comparison.verdicts
    content = {
        "coldwarm": __version__,
        "exit_code": int(exit_code),
        "regressions": sorted(comparison.regressions()),
        "measured": comparison.measured,
        "versions": {name: {"before": old, "after": new} for name, (old, new) in verdicts.packages.items()},
        "verdicts": [
            {
                "how": change.how,
                "what": change.what,
                "known_issue": change.issue.id if change.issue is not None else None,
                "runs": list(change.models),
            }
            for change in verdicts.changes
        ],
        "starts_needed": comparison.starts_needed,
        "runs": [_run(run) for run in comparison.runs],
        "only_before": verdicts.missing,
        "only_after": verdicts.added,
        "not_started": comparison.not_started,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _run(run: RunComparison) -> dict[str, Any]:
    return {
        "name": run.name,
        "verdict": {"before": run.before.result.verdict.status, "after": run.after.result.verdict.status},
        "settings": {name: {"before": old, "after": new} for name, (old, new) in run.settings.items()},
        "conditions": run.conditions,
        "counts": [
            {"name": each.name, "before": each.before, "after": each.after, "direction": each.direction}
            for each in run.counts
        ],
        "counts_comparable": not run.is_uncounted,
        "findings": [{"direction": each.direction, **each.finding.model_dump(mode="json")} for each in run.findings],
        "keys": None
        if run.keys is None
        else [{"group": each.group, "name": each.name, "before": each.cold, "after": each.warm} for each in run.keys],
        "seconds": [_seconds(each) for each in run.seconds],
    }


def _seconds(change: SecondsChange) -> dict[str, Any]:
    content: dict[str, Any] = {
        "quantity": change.quantity,
        "before": change.before,
        "after": change.after,
        "answer": change.answer,
    }
    if (difference := change.difference) is not None:
        content |= {
            # A phase that is new has none.
            "ratio": difference.ratio if difference.before else None,
            # Without bounds if there are too few starts.
            "low": (difference.low or None) if difference.before else None,
            "high": difference.high if difference.before and math.isfinite(difference.high) else None,
            "p": change.p,
        }
    return content
