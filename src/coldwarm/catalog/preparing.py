"""Prepares what is started: the published config with its deviations, and the overrides that shrink it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coldwarm.catalog.catalog import CatalogModel
from coldwarm.catalog.shrinking import merged
from coldwarm.core.case import Case
from coldwarm.core.errors import CatalogError
from coldwarm.core.model_entry import Deviation


def prepare(model: CatalogModel, argument: str, *, engine: str, device: str, compilation: str) -> Case:
    """Return the case that starts `model` on `device`.

    Args:
        model: The catalog's model, with its published config.
        argument: The model as named on the command line: an id or a path.
        engine: The name of the engine.
        device: ``cpu`` or ``cuda``.
        compilation: ``piecewise`` or ``shipped``.

    Raises:
        CatalogError: A deviation does not fit the published config.
    """
    # If a device cannot run the model, its deviations need not exist.
    supported = model.entry.unsupported_on(device, compilation) is None
    return Case(
        entry=model.entry,
        argument=argument,
        engine=engine,
        device=device,
        compilation=compilation,
        config=config_for(model, device) if supported else model.config,
        overrides=overrides_for(model, device) if supported else {},
        drafter=drafter_for(model, device) if supported else None,
        files=dict(model.files),
    )


def config_for(model: CatalogModel, device: str) -> dict[str, Any]:
    """Return the published config with the entry's deviations for `device`, then its shrinks that edit the config.

    Raises:
        CatalogError: A deviation names a key that the published config does not have.
    """
    config = _edited(model, model.config, model.config_path, model.entry.deviation, device, "deviation")
    for shrink in model.entry.shrink:
        if shrink.edits_config and shrink.applies_to(device):
            config = merged(config, shrink.overrides)
    return config


def overrides_for(model: CatalogModel, device: str) -> dict[str, Any]:
    """Return the overrides for the engine on `device`; later ones take precedence, nested tables are merged."""
    overrides: dict[str, Any] = {}
    for shrink in model.entry.shrink:
        if not shrink.edits_config and shrink.applies_to(device):
            overrides = merged(overrides, shrink.overrides)
    return overrides


def drafter_for(model: CatalogModel, device: str) -> dict[str, Any] | None:
    """Return the config of the drafter with its deviations for `device` and shrunk; None: the entry names none.

    All values that shrink it are written to its config, because engines apply overrides to the main model only.

    Raises:
        CatalogError: A deviation names a key that the published config does not have.
    """
    entry = model.entry.drafter
    if entry is None or model.drafter is None:
        return None
    path = model.path.parent / entry.config
    config = _edited(model, model.drafter, path, entry.deviation, device, "drafter.deviation")
    for shrink in entry.shrink:
        if shrink.applies_to(device):
            config = merged(config, shrink.overrides)
    return config


def _edited(
    model: CatalogModel,
    published: dict[str, Any],
    config_path: Path,
    deviations: Sequence[Deviation],
    device: str,
    table: str,
) -> dict[str, Any]:
    config = copy.deepcopy(published)
    for number, deviation in enumerate(deviations):
        if not deviation.applies_to(device):
            continue
        if deviation.use is not None:
            if not isinstance(config.get(deviation.use), dict):
                raise CatalogError(
                    model.path, f"{config_path} has no sub-config {deviation.use!r}", key=f"{table}.{number}.use"
                )
            config = config[deviation.use]
        for key in deviation.remove:
            if key not in config:
                raise CatalogError(model.path, f"{config_path} has no key {key!r}", key=f"{table}.{number}.remove")
            del config[key]
        config.update(copy.deepcopy(deviation.set))
    return config


def startable_config(model: CatalogModel, device: str) -> dict[str, Any]:
    """Return the config that is started on `device`, with all overrides applied: it can be started as it is.

    Raises:
        CatalogError: A deviation does not fit the published config.
    """
    return merged(config_for(model, device), overrides_for(model, device))
