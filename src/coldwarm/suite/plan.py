"""Plans the runs of a suite, and reports all errors before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coldwarm.catalog.catalog import Catalog, CatalogModel
from coldwarm.catalog.preparing import prepare
from coldwarm.core.case import Case, Changes
from coldwarm.core.conditions import DEVICES, RunContext
from coldwarm.core.depth import Depth
from coldwarm.core.engine import DEFAULT_ENGINE
from coldwarm.core.errors import CatalogError, UsageError
from coldwarm.core.model_entry import Expectation, KnownIssue
from coldwarm.core.options import merged
from coldwarm.engines.base import Installation, load_installation


def plan(
    catalog: Catalog,
    words: Sequence[str],
    *,
    engine: str = DEFAULT_ENGINE,
    device: str | None = None,
    compilation: str = "piecewise",
    aot_artifacts: Sequence[str] = (),
    depth: Depth = Depth.FULL,
    repeat: int = 1,
    options: dict[str, Any] | None = None,
    warm_changes: Changes | None = None,
    whole_catalog: bool = False,
) -> list[Case]:
    """Return the cases to run: those named by `words`, or the representative models of the catalog.

    Args:
        catalog: The catalog.
        words: Model ids, or paths to a config.json or to a model's TOML file; empty: the representative models.
        engine: The engine's name.
        device: ``cpu`` or ``cuda``; None: what the installed engine was built for.
        compilation: ``piecewise``, or ``shipped`` for the engine's default.
        aot_artifacts: ``bundled``, ``separate``: a case for each; empty: one case with the engine's default.
        depth: How far the starts go.
        repeat: How many times each model is started cold, then warm.
        options: Options of the engine, which override those that coldwarm sets.
        warm_changes: Settings that differ in the warm start.
        whole_catalog: Run every model of the catalog, instead of naming some.

    Raises:
        UsageError: The engine, the device or a model is not available.
        CatalogError: An entry or a config cannot be used.
    """
    installation = load_installation(engine)
    device = device or installation.default_device()
    if device not in DEVICES:
        raise UsageError(f"no device {device!r}; devices: {', '.join(DEVICES)}")
    installation.check_device(device)
    _check_depth(depth, compilation, warm_changes or Changes())
    if words and whole_catalog:
        raise UsageError("name models or run the whole catalog, not both")
    models = [(catalog.resolve(word), catalog.get(word) is not None) for word in words]
    models = models or [(model, True) for model in (catalog.models() if whole_catalog else catalog.representative())]
    for of_model in ({}, *(model.entry.options for model, _ in models)):
        of_both = merged(of_model, options or {})
        for each in ({}, warm_changes.options if warm_changes else {}):
            installation.check_options(merged(of_both, each), depth)
    cases = [
        prepared.model_copy(
            update={
                "aot_artifact": aot_artifact,
                "depth": depth,
                "repeat": repeat,
                "options": options or {},
                "warm_changes": warm_changes or Changes(),
            }
        )
        for prepared in (_prepare(model, by_id, installation, device, compilation) for model, by_id in models)
        for aot_artifact in (dict.fromkeys(aot_artifacts) or (None,))
    ]
    _check_ids(cases)
    unsupported = [(case.name, case.entry.unsupported_on(device, compilation)) for case in cases]
    if all(why is not None for _, why in unsupported):
        reasons = [f"  {name}: {why.reason}" for name, why in unsupported if why is not None]
        raise UsageError("\n".join([f"nothing to run: every model is unsupported on {device}", *reasons]))
    return cases


def _check_depth(depth: Depth, compilation: str, warm_changes: Changes) -> None:
    if not depth.level.has_kernels and compilation == "shipped":
        raise UsageError(f"--depth {depth} requires piecewise compilation; use --depth full with --compilation shipped")
    if not depth.level.has_artifacts and (warm_changes.environment or warm_changes.options):
        raise UsageError("--depth trace has no warm start, so --warm-set and --warm-env cannot be used")


def _prepare(model: CatalogModel, by_id: bool, installation: Installation, device: str, compilation: str) -> Case:
    argument = model.entry.id if by_id else str(model.path)
    case = prepare(model, argument, engine=installation.name, device=device, compilation=compilation)
    folder = str(model.path.parent) if by_id and not model.is_packaged else None
    case = case.model_copy(update={"named_by_id": by_id, "catalog": folder})
    if case.entry.unsupported_on(device, compilation) is None:
        installation.check_config(case.config, model.config_path)
        _check_counter_names(model, installation)
    return case


def _check_counter_names(model: CatalogModel, installation: Installation) -> None:
    rows: list[tuple[str, Expectation | KnownIssue]] = []
    rows += [(f"expect.{number}", row) for number, row in enumerate(model.entry.expect)]
    rows += [(f"known_issue.{number}", row) for number, row in enumerate(model.entry.known_issue)]
    for key, row in rows:
        # The counters of other versions are unknown.
        context = RunContext(
            device=row.when.device or "",
            compilation=row.when.compilation or "",
            aot_artifact=row.when.aot_artifact,
            versions=installation.versions(),
        )
        if not row.when.matches_platform(context):
            continue
        for kind, counters in (("cold", row.cold), ("warm", row.warm)):
            if problem := installation.check_counters(list(counters)):
                raise CatalogError(model.path, problem, key=f"{key}.{kind}")


def _check_ids(cases: list[Case]) -> None:
    seen: dict[str, str] = {}
    for case in cases:
        if case.name in seen:
            raise UsageError(
                f"duplicate run name {case.name!r} ({seen[case.name]}, {case.argument}); "
                "run these models in separate commands"
            )
        seen[case.name] = case.argument
