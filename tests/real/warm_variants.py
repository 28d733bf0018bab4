"""One cold start of a small model, then a warm start for each way in which a warm start may go wrong.

Run as ``python -m tests.real.warm_variants FOLDER``, in a process of its own: it needs the model's plugin on its path,
which the other starts of the tests must not see. Each warm start has the caches that the cold one left; what was seen
of it lies in FOLDER/<variant> as a run that `coldwarm explain` reads.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.case import Case, Changes
from coldwarm.core.record import StartRecord
from coldwarm.diagnose.explanation import explain
from coldwarm.launch.driver import WorkerDriver
from coldwarm.launch.fork.client import ForkServers
from coldwarm.launch.start import Starter
from coldwarm.store.suite_folder import Store
from coldwarm.suite.plan import plan
from coldwarm.suite.result import RunResult

HERE = Path(__file__).parent
CONFIG = HERE / "configs" / "buffered-scale.json"
PLUGIN = HERE / "plugin"
TIME_LIMIT = 300.0

# Below the caches' folder; the precompiled headers of the C++ compiler are left as they are.
RESTORED = "vllm"


@dataclass
class Variant:
    """What is otherwise in one warm start."""

    name: str
    changes: Changes = field(default_factory=Changes)
    tamper: Callable[[Path, Path], None] = lambda caches, plugin: None
    """Takes the caches' folder and the plugin's."""


def saved_function(caches: Path) -> Path:
    [model] = (caches / "vllm" / "torch_compile_cache" / "torch_aot_compile").rglob("model")
    return model


def _edit_source(caches: Path, plugin: Path) -> None:
    source = plugin / "layer_scale.py"
    source.write_text(source.read_text().replace("hidden_states * self.scale", "self.scale * hidden_states"))


def _truncate(caches: Path, plugin: Path) -> None:
    path = saved_function(caches)
    os.truncate(path, path.stat().st_size // 2)


def _flip(caches: Path, plugin: Path) -> None:
    path = saved_function(caches)
    content = bytearray(path.read_bytes())
    for i in range(len(content) // 3, len(content) // 3 + 4096):
        content[i] ^= 0xFF
    path.write_bytes(content)


def _delete(caches: Path, plugin: Path) -> None:
    saved_function(caches).unlink()


VARIANTS = (
    Variant("harmless", Changes(environment={"VLLM_LOG_STATS_INTERVAL": "77"})),
    Variant("option", Changes(options={"additional_config": {"experiment": "second"}})),
    Variant("variable", Changes(environment={"VLLM_DISABLE_LOG_LOGO": "1"})),
    Variant("source", tamper=_edit_source),
    Variant("truncated", tamper=_truncate),
    Variant("flipped", tamper=_flip),
    Variant("deleted", tamper=_delete),
)


def main() -> None:
    """Make all starts, and keep each as a run."""
    output = Path(sys.argv[1])
    output.mkdir(parents=True)
    plugin = output / "plugin"
    shutil.copytree(PLUGIN, plugin)
    sys.path.insert(0, str(plugin))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(plugin), *filter(None, [os.environ.get("PYTHONPATH")])])
    [case] = plan(Catalog.read(), [str(CONFIG)], options={"additional_config": {"experiment": "first"}})
    starts = output / "starts"
    with closing(ForkServers(output / "servers", output, time_limit=TIME_LIMIT)) as servers:
        starter = Starter(case, output / "scratch", starts, time_limit=TIME_LIMIT, driver=WorkerDriver(servers))
        cold = starter.cold()
        caches = starter.caches.root
        shutil.copytree(caches / RESTORED, output / "left", symlinks=True)
        for number, variant in enumerate(VARIANTS, start=1):
            shutil.rmtree(caches / RESTORED)
            shutil.copytree(output / "left", caches / RESTORED, symlinks=True)
            variant.tamper(caches, plugin)
            warm = starter.warm(changes=variant.changes)
            shutil.copy(PLUGIN / "layer_scale.py", plugin / "layer_scale.py")
            _keep(case, output / variant.name, starts, number, cold, warm)
    shutil.rmtree(output / "scratch")


def _keep(case: Case, folder: Path, starts: Path, number: int, cold: StartRecord, warm: StartRecord) -> None:
    store = Store.create(folder, [case.model_id])
    store.write_case(case)
    run = store.folder_of(case)
    warm_name = "warm" if number == 1 else f"warm-{number}"
    for name, kept_as in (("cold", "cold"), (warm_name, "warm")):
        for suffix in (".trace", ".log", ".keys.json"):
            (run / f"{kept_as}{suffix}").symlink_to(starts / f"{name}{suffix}")
    for record in (cold, warm):
        store.write_start(case, record)
    explanation = explain(run, cold, warm)
    store.write_explanation(case, explanation)
    store.write_verdict(case, RunResult.of(case, cold, warm, explanation).verdict)


if __name__ == "__main__":
    main()
