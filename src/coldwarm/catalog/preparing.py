"""Prepares what is started: the published config with its deviations, and the overrides that shrink it."""

from __future__ import annotations

import copy
from typing import Any

from coldwarm.catalog.catalog import CatalogModel
from coldwarm.core.case import Case
from coldwarm.core.errors import CatalogError


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
    )


def config_for(model: CatalogModel, device: str) -> dict[str, Any]:
    """Return the published config with the entry's deviations for `device` applied in order.

    Raises:
        CatalogError: A deviation names a key that the published config does not have.
    """
    config = copy.deepcopy(model.config)
    for number, deviation in enumerate(model.entry.deviation):
        if not deviation.applies_to(device):
            continue
        if deviation.use is not None:
            if not isinstance(config.get(deviation.use), dict):
                raise CatalogError(
                    model.path,
                    f"{model.config_path} has no sub-config {deviation.use!r}",
                    key=f"deviation.{number}.use",
                )
            config = config[deviation.use]
        for key in deviation.remove:
            if key not in config:
                raise CatalogError(
                    model.path, f"{model.config_path} has no key {key!r}", key=f"deviation.{number}.remove"
                )
            del config[key]
        config.update(copy.deepcopy(deviation.set))
    return config


def overrides_for(model: CatalogModel, device: str) -> dict[str, Any]:
    """Return the overrides that shrink the model on `device`; later ones take precedence, nested tables are merged."""
    merged: dict[str, Any] = {}
    for shrink in model.entry.shrink:
        if shrink.applies_to(device):
            _merge(merged, shrink.overrides)
    return merged


def startable_config(model: CatalogModel, device: str) -> dict[str, Any]:
    """Return the config that is started on `device`, with all overrides applied: it can be started as it is.

    Raises:
        CatalogError: A deviation does not fit the published config.
    """
    config = config_for(model, device)
    _merge(config, overrides_for(model, device))
    return config


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)
