from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog import writing
from coldwarm.catalog.catalog import Catalog
from coldwarm.catalog.writing import Edit, check_writable, expectation_block, with_expectations, write_file
from coldwarm.core.errors import CatalogError, UsageError
from coldwarm.core.model_entry import Expectation, ModelEntry, Seconds
from tests.support.records import SAVED, expectation

TEXT = """\
# Tiny, for tests.
id = "tiny"
name = 'Tiny'   # in single quotes
config = "tiny.json"
source = "https://example.org/tiny"

# On a CPU.
[[expect]]
when = { device = "cpu", torch = "~=2.13.0" }
measured = "before"
seconds = { cold = 1.5, warm = 0.5 }  # two in parallel
shows = ["first-moe-layer-on-cpu"]
cold.vllm.num_compiled_artifacts_saved = 3  # one more than it has kinds of layers
cold.vllm.num_compiled_artifacts_loaded = 0
warm."vllm.num_compiled_artifacts_loaded" = 3

# On a GPU.
[[expect]]
when = { device = "cuda" }
measured = "before"
cold.vllm.num_compiled_artifacts_saved = 2


[[known_issue]]
id = "issue"
title = "an issue"
link = "https://example.org/1"
when = { device = "cuda" }
breaks = "cold-only-unique"
cold.vllm.num_compiled_artifacts_saved = 9
"""
PATH = Path("tiny.toml")


def row(number: int, text: str = TEXT) -> Expectation:
    return ModelEntry.model_validate(tomllib.loads(text)).expect[number]


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_only_what_differs_is_replaced() -> None:
    new = row(0).model_copy(
        update={
            "measured": 'today, "twice"',
            "seconds": Seconds(cold=2.0, warm=0.5),
            "shows": (),
            "cold": {**row(0).cold, SAVED: 4},
            "warm": {"vllm.num_compiled_artifacts_loaded": 4},
        }
    )
    after = with_expectations(PATH, TEXT, [Edit(new, 0, "alone")])
    assert changed_lines(TEXT, after) == (
        [
            "seconds = { cold = 1.5, warm = 0.5 }  # two in parallel",
            'shows = ["first-moe-layer-on-cpu"]',
            "cold.vllm.num_compiled_artifacts_saved = 3  # one more than it has kinds of layers",
            'warm."vllm.num_compiled_artifacts_loaded" = 3',
        ],
        [
            'measured = "today, \\"twice\\""',
            "seconds = { cold = 2.0, warm = 0.5 }  # alone",
            "cold.vllm.num_compiled_artifacts_saved = 4  # one more than it has kinds of layers",
            'warm."vllm.num_compiled_artifacts_loaded" = 4',
        ],
    )


def test_what_is_the_same_changes_no_byte_of_any_packaged_file() -> None:
    for model in Catalog.read().models():
        if model.entry.expect:
            text, first = model.path.read_text(), model.entry.expect[0]
            assert with_expectations(model.path, text, [Edit(first, 0, "now")]) == text
            changed = Edit(first.model_copy(update={"measured": "now"}), 0, "now")
            lines = zip(text.splitlines(), with_expectations(model.path, text, [changed]).splitlines(), strict=True)
            [(old, new)] = [(old, new) for old, new in lines if old != new]
            assert (old.startswith("measured = "), new) == (True, 'measured = "now"')


def test_a_written_block_reads_as_the_expectation() -> None:
    rows = [each for model in Catalog.read().models() for each in model.entry.expect]
    rows.append(expectation(when={"options": {"hf_overrides.num_hidden_layers": 4}, "environment": {"VLLM_X": "a b"}}))
    for each in rows:
        [read] = tomllib.loads(expectation_block(each, "alone"))["expect"]
        assert Expectation.model_validate(read) == each


def test_an_added_block_follows_those_of_its_device() -> None:
    added = expectation(when={"device": "cpu", "torch": "~=2.14.0"})
    after = with_expectations(PATH, TEXT, [Edit(added, None, "alone")])
    before, _, behind = TEXT.partition("\n# On a GPU.")
    assert after == f"{before}\n{expectation_block(added, 'alone')}\n# On a GPU.{behind}"


def test_a_block_of_another_device_is_added_behind_all_expectations() -> None:
    text = TEXT.replace('device = "cuda" }\nmeasured', 'device = "cpu" }\nmeasured')
    added = expectation(when={"device": "cuda"})
    after = with_expectations(PATH, text, [Edit(added, None, "alone")])
    before, _, behind = text.partition("\n\n\n[[known_issue]]")
    assert after == f"{before}\n\n{expectation_block(added, 'alone')}\n\n[[known_issue]]{behind}"


def test_comments_belong_to_what_they_stand_at() -> None:
    head = TEXT[: TEXT.index("\n# On a CPU.")] + "# Derived from the started model.\n"
    issue = "# Tracked.\n" + TEXT[TEXT.index("[[known_issue]]") :]
    edit = Edit(expectation(), None, "alone")
    block = expectation_block(edit.expectation, edit.note)
    assert with_expectations(PATH, f"{head}\n{issue}", [edit]) == f"{head}\n{block}\n{issue}"


@pytest.mark.parametrize("end", ["", "\n", "\n\n# the end\n"])
def test_the_first_block_is_added_before_known_issues_or_at_the_end(end: str) -> None:
    head = TEXT[: TEXT.index("\n# On a CPU.")]
    issue = "# Tracked.\n" + TEXT[TEXT.index("[[known_issue]]") :]
    edit = Edit(expectation(), None, "alone")
    block = expectation_block(edit.expectation, edit.note)
    assert with_expectations(PATH, f"{head}\n{issue}", [edit]) == f"{head}\n{block}\n{issue}"
    bare = head.rstrip("\n") + end
    assert with_expectations(PATH, bare, [edit]) == f"{bare.rstrip()}\n\n{block}"


@pytest.mark.parametrize(
    "counters",
    [
        "[expect.cold.vllm]\nnum_compiled_artifacts_saved = 3\n",
        '[expect.cold]\n"vllm.num_compiled_artifacts_saved" = 3\n',
        "cold = { vllm = { num_compiled_artifacts_saved = 3 } }\n",
    ],
)
def test_other_layouts_of_counters(counters: str) -> None:
    text = TEXT[: TEXT.index("\n# On a CPU.")] + '\n[[expect]]\nwhen = { device = "cpu" }\nmeasured = "before"\n'
    text += counters
    new = row(0, text).model_copy(update={"cold": {SAVED: 4}})
    after = with_expectations(PATH, text, [Edit(new, 0, "alone"), Edit(expectation(), None, "alone")])
    assert after.startswith(text.replace(" = 3", " = 4"))
    assert ModelEntry.model_validate(tomllib.loads(after)).expect == (new, expectation())


@pytest.mark.parametrize(
    "more",
    [
        'expect = [{ when = {}, measured = "x", cold = { a = 3 } }]',
        # What looks like a table is part of a text.
        'source_note = """\n[[known_issue]]\n"""',
    ],
)
def test_a_file_that_cannot_be_edited_is_an_error_with_the_block(more: str) -> None:
    text = TEXT[: TEXT.index("\n# On a CPU.")] + f"\n{more}\n"
    with pytest.raises(CatalogError, match=r"(?s)tiny\.toml: .* by hand:\n\[\[expect\]\]\nwhen = "):
        with_expectations(PATH, text, [Edit(expectation(), None, "alone")])


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text("old")
    file.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    write_file(link, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777, link.is_symlink()) == ("new", 0o640, True)

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_file(file, "newer")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"tiny.toml": "new", "link.toml": "new"}


def test_the_catalog_of_an_installed_package_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "lib" / "site-packages" / "coldwarm" / "catalog" / "models"
    checkout = tmp_path / "checkout" / "src" / "coldwarm" / "catalog" / "models"
    for folder in (installed, checkout):
        folder.mkdir(parents=True)
        (folder / "tiny.toml").write_text("x")
    (tmp_path / "checkout" / "pyproject.toml").write_text("x")
    monkeypatch.setattr(writing, "PACKAGED", installed)
    with pytest.raises(UsageError, match=r"belongs to the installed coldwarm.*use a checkout.*--catalog"):
        check_writable(installed / "tiny.toml")
    check_writable(tmp_path / "mine.toml")
    monkeypatch.setattr(writing, "PACKAGED", checkout)
    check_writable(checkout / "tiny.toml")


def test_the_packaged_catalog_of_this_checkout_can_be_written() -> None:
    check_writable(Catalog.read().models()[0].path)
