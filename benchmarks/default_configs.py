"""The default configs of transformers that vLLM also knows, each started by coldwarm as a bare config.json.

python benchmarks/default_configs.py FOLDER [--depth DEPTH] [--jobs N] [--only MODEL_TYPE]...

Writes FOLDER/configs/MODEL_TYPE/config.json for each text-generation architecture that the installed transformers and
the installed vLLM have in common, runs all of them with one `coldwarm run`, and prints how many runs had each verdict
and, for each verdict but `passed`, which models had it for which reason. Errors that vLLM blames on the config, because
it lacks a field that published ones have or does not have vLLM's form, are counted apart. FOLDER/suite holds the
records: with a suite there already, the table is printed again from a fresh judgement, and nothing is started.

A default config is what a config class of transformers has before a checkpoint sets anything: wide variety, no hub.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import warnings
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.verdict import Status
from coldwarm.core.crash_cause import CrashKind
from coldwarm.suite.result import RunResult
from coldwarm.suite.stored import judge_stored

# Verdicts in the order of the table.
_ORDER = (
    Status.PASSED,
    Status.KNOWN_ISSUE,
    Status.UNSUPPORTED,
    Status.UNEXPECTEDLY_FIXED,
    Status.FAILED,
    Status.ERROR,
)
_CONFIG = "error by config"


def main() -> None:
    """Write the configs, run them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--depth", default="count", help="of coldwarm run (default: count)")
    parser.add_argument("--jobs", help="of coldwarm run (default: as many as fit)")
    parser.add_argument("--timeout", default="180", help="seconds that one start may take (default: 180)")
    parser.add_argument("--only", action="append", metavar="MODEL_TYPE", help="one model type; repeatable")
    asked = parser.parse_args()
    suite = asked.folder / "suite"
    if not suite.exists():
        configs = write_configs(asked.folder / "configs", asked.only)
        print(f"{len(configs)} configs", flush=True)
        command = [sys.executable, "-m", "coldwarm", "run", *map(str, configs), "--output", str(suite)]
        command += ["--depth", asked.depth, "--timeout", asked.timeout]
        command += ["--jobs", asked.jobs] if asked.jobs else []
        with (asked.folder / "run.log").open("wb") as log:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        print(f"coldwarm run: exit status {done.returncode}; see {log.name}")
    print_table(judge_stored(suite, Catalog.read()))


def write_configs(folder: Path, only: list[str] | None) -> list[Path]:
    """Write the config.json files and return their paths, one for each architecture, in the order of model types."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    known = _architectures_of_vllm()
    # The first model type of an architecture stands for all.
    by_architecture: dict[str, str] = {}
    for model_type, names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        architecture = names if isinstance(names, str) else names[0]
        if architecture in known:
            by_architecture.setdefault(architecture, model_type)
    paths = []
    for architecture, model_type in sorted(by_architecture.items(), key=lambda item: item[1]):
        if only and model_type not in only:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                config: dict[str, Any] = AutoConfig.for_model(model_type).to_dict()
            except Exception as error:  # a config class that has no defaults
                print(f"{model_type}: has no default config: {type(error).__name__}: {error}")
                continue
        config["architectures"] = [architecture]
        path = folder / model_type / "config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config, indent=2, default=str) + "\n")
        paths.append(path)
    return paths


def _architectures_of_vllm() -> frozenset[str]:
    """vLLM's text-generation architectures (vllm/model_executor/models/registry.py), read without importing it."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        raise SystemExit("vLLM is not installed in this environment")
    source = Path(spec.origin).parent / "model_executor" / "models" / "registry.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        target: ast.expr | None = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == "_TEXT_GENERATION_MODELS":
            table = ast.unparse(node.value) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value else "{}"
            return frozenset(ast.literal_eval(table))
    raise SystemExit(f"{source} has no table _TEXT_GENERATION_MODELS")


def print_table(results: list[RunResult]) -> None:
    """Print the number of runs with each verdict, then which had it for which reason."""
    count = Counter(_verdict_of(result) for result in results)
    for verdict in (*_ORDER, _CONFIG):
        print(f"{verdict:18} {count[verdict]:3}")
    for verdict in (*_ORDER[1:], _CONFIG):
        reasons = defaultdict(list)
        for result in results:
            if _verdict_of(result) == verdict:
                reasons[_class_of(result)].append(result.case.name)
        for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
            print(f"\n{verdict}: {len(names)}: {', '.join(names)}\n  {reason}")


def _verdict_of(result: RunResult) -> str:
    cause = result.verdict.crash_cause
    return _CONFIG if cause is not None and cause.kind is CrashKind.CONFIG else result.verdict.status


def _class_of(result: RunResult) -> str:
    """The run's first reason, without the numbers that differ from model to model."""
    reason = result.verdict.reasons[0].splitlines()[0] if result.verdict.reasons else "no reason"
    return re.sub(r"\b\d+\b", "N", reason)[:240]


if __name__ == "__main__":
    main()
