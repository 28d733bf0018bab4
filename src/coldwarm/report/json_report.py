"""A suite's results as one JSON object."""

from __future__ import annotations

import json

from coldwarm import __version__
from coldwarm.suite.result import RunResult, exit_code


def to_json(results: list[RunResult]) -> str:
    """Return all that is known of `results`: cases, start records, verdicts, why, and the exit code they lead to."""
    return json.dumps(
        {
            "coldwarm": __version__,
            "exit_code": int(exit_code(results)),
            "runs": [
                {
                    "model": result.case.model_id,
                    "name": result.case.name,
                    "case": result.case.model_dump(mode="json"),
                    "cold": result.cold.model_dump(mode="json") if result.cold else None,
                    "warm": result.warm.model_dump(mode="json") if result.warm else None,
                    "verdict": result.verdict.model_dump(mode="json"),
                    "explanation": result.explanation.model_dump(mode="json") if result.explanation else None,
                }
                for result in results
            ],
        },
        indent=2,
    )
