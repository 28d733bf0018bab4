from __future__ import annotations

import re
from dataclasses import replace

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.comparison.compare import FailOn, compare_sides
from coldwarm.comparison.sides import Side
from coldwarm.comparison.stored import sides_of
from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.record import StartKind
from coldwarm.report.html.comparison import render_comparison
from coldwarm.suite.result import RunResult
from tests.report.html.suites import H200, hostile, not_shared
from tests.report.html.test_page import ANGRY, Reader
from tests.support.commands import ROOT
from tests.support.repeated import side
from tests.support.runs import case_of, crashed, failed, passed

OLD = [20.0, 20.1, 20.2, 20.3, 20.4]


def page(before: RunResult | Side, after: RunResult | Side, *fail_on: FailOn) -> str:
    old, new = ({"tiny": each if isinstance(each, Side) else Side([each])} for each in (before, after))
    return render_comparison(compare_sides(old, new), names=("monday", "tuesday"), fail_on=fail_on or tuple(FailOn))


def headline(text: str) -> str:
    [found] = re.findall("<h1>(.*)</h1>", text)
    return str(found)


def words(text: str) -> str:
    return Reader(text).words


def test_a_regression_of_counts_is_the_headline_and_marked() -> None:
    text = page(passed("tiny"), failed("tiny"), FailOn.COUNTS)
    assert headline(text) == "Regression in counts and findings, in 1 run"
    assert re.search(r"cold saved</th><td class=\"num\">3</td><td class=\"num\">4</td><td class=\"worse\">worse", text)
    assert "passed → ✕ failed" in words(text)


def test_a_slowdown_has_its_numbers() -> None:
    text = words(page(side(OLD), side([each * 1.2 for each in OLD]), FailOn.TIME))
    assert "20.2 → 24.2 slower" in text
    assert "cold 20.2 24.2 +20 % 0.016 slower" in text


def test_a_phase_that_is_new_has_no_percentage() -> None:
    before, after = (side(OLD, phases=phases) for phases in ({"Dynamo": 5.0}, {"Dynamo": 5.0, "Inductor": 12.0}))
    text = words(page(before, after))
    assert re.search(r"cold: Inductor 0\.0 12\.0 new [\d.]+ slower", text), text
    assert re.search(r"cold: Inductor 12\.0 0\.0 -100 % [\d.]+ faster", words(page(after, before)))


def test_too_few_starts_are_said_to_be_too_few() -> None:
    text = page(side(OLD[:2]), side(OLD[:2]))
    assert headline(text) == "No regression of counts or findings in 1 run; seconds could not be compared"
    assert "Not enough starts to tell (2 and 2; at least 5 each are needed: coldwarm run --repeat 5 )." in words(text)


def test_both_time_lines_are_on_one_scale() -> None:
    text = page(not_shared(), not_shared())
    assert re.findall(r'class="start-title"><strong>([^<]*)<', text) == [
        "cold, before",
        "cold, now",
        "warm, before",
        "warm, now",
    ]


def test_both_maps_are_side_by_side_with_ids_of_their_own() -> None:
    text = page(not_shared(), not_shared())
    assert text.count('class="cells"') == 2
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-controls="([^"]+)"', text)) <= set(ids)


def test_components_and_settings_that_differ_have_both_values() -> None:
    def run(seed: str) -> Side:
        keys = CacheKeys(factors={"config.model": {"seed": seed}})
        result = replace(passed("tiny"), case=case_of(options={"seed": int(seed)}))
        return Side([result], {StartKind.COLD: keys})

    text = words(page(run("1"), run("2")))
    assert "seed config.model 1 2" in text
    assert "option seed 1 2" in text


def test_a_side_that_crashed_has_a_page() -> None:
    assert "ValueError" in page(passed("tiny"), crashed("tiny"))


def test_runs_of_one_side_only_are_named() -> None:
    comparison = compare_sides({"old": Side([passed("old")])}, {"new": Side([passed("new")])}, ["waits"])
    text = render_comparison(comparison, names=("a", "b"))
    assert headline(text) == "Nothing was compared: the two sides have no run in common"
    assert "new new not run old not started waits" in words(text)


@pytest.mark.parametrize("text", ANGRY)
def test_text_stays_text(text: str) -> None:
    found = Reader(page(hostile(text), hostile(text)))
    assert found.tags == Reader(page(hostile("harmless"), hostile("harmless"))).tags
    assert set(found.links) == {"data:,", "#runs"}


def test_names_of_folders_stay_text() -> None:
    comparison = compare_sides({}, {})
    harmless = Reader(render_comparison(comparison, names=("a", "b"))).tags
    assert Reader(render_comparison(comparison, names=("<b>", "</title><script>"))).tags == harmless


def test_real_suites_of_two_versions() -> None:
    older = ROOT / "records" / "h200-2026-11-29-vllm-0.26"
    comparison = compare_sides(sides_of(older, Catalog.read()), sides_of(H200, Catalog.read()))
    text = render_comparison(comparison, names=(older.name, H200.name))
    assert len(text.encode()) < 1_000_000
    shown = words(text)
    assert "vllm 0.26.0 → 0.33.0" in shown
    assert "broke cute.compile has no cache on disk" in shown
    assert shown.count("Time lines") == 8
