"""`coldwarm list`: lists the catalog."""

from __future__ import annotations

import sys

from coldwarm.cli.options import CatalogOption, JsonArrayOption
from coldwarm.cli.results import stdout


def list_models(catalog: CatalogOption = None, json: JsonArrayOption = False) -> None:
    """List the models of the catalog: their layers, and the devices that can run them.

    Examples:
      coldwarm list                       # the packaged catalog
      coldwarm list --catalog my-folder   # with your own models
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.report.catalog_view import models_as_json, models_as_table

    models = Catalog.read(catalog or []).models()
    if json:
        sys.stdout.write(models_as_json(models) + "\n")
    else:
        stdout().print(models_as_table(models))
