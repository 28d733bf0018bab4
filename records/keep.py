"""Keeps a suite in this folder: records, verdicts and explanations, without logs and traces, with relative paths.

    python records/keep.py RUN NAME

Verdicts and explanations are made again, by the catalog and the code as they are now.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.record import StartRecord
from coldwarm.core.run_folder import CASE
from coldwarm.store.suite_folder import Store, read_runs
from coldwarm.suite.stored import explain_stored, judge_run

KEPT = ("case.json", "cold.json", "warm.json")
# Where a machine keeps packages, also those of a release beside others (.vllm/0.30.0), and the caches of one case.
PLACES = re.compile(
    r"/(?:[\w.+-]+/)*?(?:site-packages|site|\.vllm/\d+\.\d+\.\d+|src(?=/coldwarm/)|coldwarm-\w{8}/[\w.+-]+)/(?=\w)"
)
# Where torch keeps the caches of a user.
USERS_CACHES = re.compile(r"/tmp/torchinductor_\w+")

ABSOLUTE = re.compile(r'"/(?:[\w.+-]+/)+')


def keep(run: Path, folder: Path) -> None:
    """Write what is worth keeping of the suite in `run` to `folder`, which must not exist."""
    folder.mkdir()
    (folder / "suite.json").write_text(ABSOLUTE.sub('"', (run / "suite.json").read_text()))
    store = Store(folder)
    catalog = Catalog.read()
    for stored in read_runs(run):
        if stored.cold is None:  # a model that the device cannot run
            kept = store.folder_of(stored.case)
            kept.mkdir()
            (kept / CASE).write_text((stored.folder / CASE).read_text())
            store.write_verdict(stored.case, judge_run(stored, catalog).verdict)
    for result, made in explain_stored(run, catalog, None):
        kept = store.folder_of(result.case)
        kept.mkdir()
        for name in KEPT:
            # Without a warm start after a cold one that crashed.
            if (made / name).is_file():
                (kept / name).write_text((made / name).read_text())
        store.write_verdict(result.case, result.verdict)
        if result.explanation is not None:
            store.write_explanation(result.case, result.explanation)
        whole = [folder for record in (result.cold, result.warm) if record is not None for folder in _of_python(record)]
        for path in kept.glob("*.json"):
            text = path.read_text()
            for each in whole:
                # Where it stands whole; PLACES is for what lies below it.
                text = re.sub(re.escape(each) + r'(?=["\s;])', Path(each).name, text)
            path.write_text(USERS_CACHES.sub("torchinductor_USER", PLACES.sub("", text)))
        print(f"{result.case.name}: {result.verdict.status}")


def _of_python(record: StartRecord) -> list[str]:
    """The interpreter, and the folders that it compiled from source: paths that a way out names whole."""
    found = [process.missing_bytecode for process in record.processes if process.missing_bytecode is not None]
    return [path for missing in found for path in (missing.python, *missing.roots)]


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(__file__).parent / sys.argv[2])
