"""Exports a suite's results as one JSON object."""

from __future__ import annotations

import json
from typing import Any

from coldwarm import __version__
from coldwarm.report.summary import RunSummary, SuiteSummary
from coldwarm.store import schema


def render(summary: SuiteSummary) -> str:
    """Return the data of all runs, in the format in which it is stored, and the resulting exit code."""
    content = {
        "coldwarm": __version__,
        "exit_code": int(summary.exit_code),
        "runs": [_run(run) for run in summary.runs],
    }
    return json.dumps(content, indent=2) + "\n"


def _run(run: RunSummary) -> dict[str, Any]:
    result = run.result
    return {
        "model": result.case.model_id,
        "name": run.name,
        "case": schema.CASE.to_data(result.case),
        "cold": schema.RECORD.to_data(result.cold) if result.cold else None,
        "warm": schema.RECORD.to_data(result.warm) if result.warm else None,
        "verdict": schema.VERDICT.to_data(result.verdict),
        "explanation": schema.EXPLANATION.to_data(result.explanation) if result.explanation else None,
        "reproduce": run.reproduce,
        "repetition": result.number,
        "repetitions": [
            {
                "number": each.number,
                "cold": schema.RECORD.to_data(each.cold) if each.cold else None,
                "warm": schema.RECORD.to_data(each.warm) if each.warm else None,
                "verdict": schema.VERDICT.to_data(each.verdict),
                "explanation": schema.EXPLANATION.to_data(each.explanation) if each.explanation else None,
            }
            for each in result.repetitions
        ],
    }
