from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.catalog.files import read_config, read_entry
from coldwarm.core.errors import CatalogError

HEAD = """\
id = "tiny"
name = "Tiny"
config = "tiny.json"
source = "https://example.org/tiny"
"""
WHOLE = """\
id = "tiny"
name = "Tiny"
config = "tiny.json"
source = "https://example.org/tiny"
source_note = "whole"
layer_kinds = ["dense"]

[[shrink]]
reason = "smaller"
[shrink.overrides]
hidden_size = 64

[[deviation]]
devices = ["cpu"]
reason = "no kernel"
remove = ["quantization_config"]

[[unsupported]]
devices = ["cuda"]
reason = "too old"

[[expect]]
when = { device = "cpu", torch = "~=2.13.0" }
measured = "today"
cold.vllm.saved = 3
warm.vllm.loaded = 3

[[expect]]
when = { device = "cuda" }
measured = "yesterday"
cold.vllm.saved = 3

[[known_issue]]
id = "issue"
title = "an issue"
link = "https://example.org/1"
when = { device = "cpu" }
breaks = "cold-only-unique"
cold.vllm.saved = 3
"""
wild = settings(max_examples=30, deadline=None)


@pytest.fixture
def problem(tmp_path: Path) -> Callable[[str], CatalogError]:
    """Reads a TOML text and returns its error."""

    def read(text: str) -> CatalogError:
        file = tmp_path / "tiny.toml"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(CatalogError) as raised:
            read_entry(file)
        assert str(raised.value).startswith(str(file))
        return raised.value

    return read


@pytest.fixture
def config_problem(tmp_path: Path) -> Callable[[bytes], CatalogError]:
    """Reads a config.json and returns its error."""

    def read(content: bytes) -> CatalogError:
        file = tmp_path / "config.json"
        file.write_bytes(content)
        with pytest.raises(CatalogError) as raised:
            read_config(file)
        assert str(raised.value).startswith(str(file))
        return raised.value

    return read


def line_of(text: str, beginning: str) -> int:
    [number] = [n for n, line in enumerate(text.split("\n"), start=1) if line.startswith(beginning)]
    return number


Problem = Callable[[str], CatalogError]
ConfigProblem = Callable[[bytes], CatalogError]


def test_an_unknown_issue_in_an_expectation_is_an_error_with_the_nearest(problem: Problem) -> None:
    text = WHOLE.replace('measured = "yesterday"', 'measured = "yesterday"\nshows = ["first-moe-layer-on-gpu"]')
    error = problem(text)
    assert (error.key, error.line) == ("expect.1.shows", line_of(text, "shows ="))
    assert "'first-moe-layer-on-gpu' is not a known issue of the engine; nearest: first-moe-layer-on-cpu" in str(error)


def test_a_variable_without_effect_on_compilation_cannot_be_a_condition(problem: Problem) -> None:
    text = WHOLE.replace('{ device = "cuda" }', '{ device = "cuda", environment.VLLM_LOGGING_LEVEL = "DEBUG" }')
    error = problem(text)
    assert "VLLM_LOGGING_LEVEL does not change what is compiled" in error.problem
    assert (error.key, error.line) == ("expect.1.when.environment", line_of(text, 'when = { device = "cuda"'))


def test_a_whole_entry_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(WHOLE)
    entry = read_entry(file)
    assert (entry.id, entry.layer_kinds) == ("tiny", ("dense",))
    assert entry.expect[0].cold == {"vllm.saved": 3}
    assert entry.shrink[0].overrides == {"hidden_size": 64}


@pytest.mark.parametrize(
    ("right", "wrong", "key"),
    [
        ("source =", "sorce =", "sorce"),
        ("layer_kinds =", "layer_kind =", "layer_kind"),
        ("remove =", "removed =", "deviation.0.removed"),
        ("[shrink.overrides]", "[shrink.overides]", "shrink.0.overides"),
        ('measured = "today"', 'mesured = "today"', "expect.0.mesured"),
        ('measured = "yesterday"', 'mesured = "yesterday"', "expect.1.mesured"),
        ("breaks =", "break =", "known_issue.0.break"),
        ('when = { device = "cuda"', 'when = { devise = "cuda"', "expect.1.when.devise"),
        ("[[unsupported]]", "[[unsuported]]", "unsuported"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest(
    problem: Problem, right: str, wrong: str, key: str
) -> None:
    text = WHOLE.replace(right, wrong)
    error = problem(text)
    assert error.key == key
    assert error.line == line_of(text, wrong)
    nearest = right.removeprefix("when = {").strip("[] ").split(" ")[0].split(".")[-1]
    assert f"unknown key; nearest: {nearest}" in error.problem
    assert str(error).startswith(f"{error.path}:{error.line}: {key}: unknown key")


def test_an_unknown_key_without_similar_keys_has_no_suggestion(problem: Problem) -> None:
    error = problem(HEAD + "zzzzzz = 1\n")
    assert (error.key, error.line, error.problem) == ("zzzzzz", 5, "unknown key")


def test_several_problems_are_counted(problem: Problem) -> None:
    assert problem(HEAD + "zzzzzz = 1\nyyyyyy = 1\n").problem.endswith("(and 1 more)")


@pytest.mark.parametrize("key", ["id", "name", "config", "source"])
def test_a_missing_key_is_named(problem: Problem, key: str) -> None:
    text = "".join(line for line in HEAD.splitlines(keepends=True) if not line.startswith(f"{key} ="))
    error = problem(text)
    assert (error.key, error.problem) == (key, "missing key")


def test_a_missing_key_is_reported_with_the_line_of_its_table(problem: Problem) -> None:
    error = problem(HEAD + '[[unsupported]]\ndevices = ["cpu"]\nreason = "r"\n\n[[unsupported]]\ndevices = ["cpu"]\n')
    assert (error.key, error.line) == ("unsupported.1.reason", 9)


def test_a_missing_key_is_not_reported_with_the_line_of_a_later_table(problem: Problem) -> None:
    error = problem(WHOLE.replace('measured = "today"\n', ""))
    assert error.key == "expect.0.measured"
    assert error.line in (None, line_of(WHOLE, 'when = { device = "cpu", torch') - 1)


def test_a_missing_top_level_key_is_not_reported_with_the_line_of_a_table(problem: Problem) -> None:
    error = problem(WHOLE.replace('id = "tiny"\n', ""))
    assert (error.key, error.line) == ("id", None)


def test_the_line_is_that_of_the_key_and_not_of_a_comment(problem: Problem) -> None:
    assert problem(f"# zzzzzz = is no key\n{HEAD}zzzzzz = 1\n").line == 6


def test_the_line_is_that_of_the_key_and_not_of_a_counter_of_that_name(problem: Problem) -> None:
    text = HEAD + '[[expect]]\nmeasured = "today"\ncold.torch.total = 1\nwhen = { torch = "2.13?" }\n'
    assert problem(text).line == 8


def test_lines_are_counted_as_in_an_editor(problem: Problem) -> None:
    assert problem("# one\u2028line\n" + HEAD + "zzzzzz = 1\n").line == 6


def test_invalid_toml_is_reported_with_its_line(problem: Problem) -> None:
    error = problem(HEAD + "this is = = no toml\n")
    assert error.line == 5
    assert error.problem.startswith("not valid TOML: ")


@pytest.mark.parametrize("specifier", [">=3,<2", "==2.13.*,<2"])
def test_an_unsatisfiable_version_is_reported_with_its_line(problem: Problem, specifier: str) -> None:
    text = WHOLE.replace("~=2.13.0", specifier)
    error = problem(text)
    assert (error.key, error.line) == ("expect.0.when.torch", line_of(text, 'when = { device = "cpu", torch'))
    assert error.problem == f"{specifier!r} is a version specifier that no version satisfies"


def test_an_invalid_version_is_reported_with_its_line(problem: Problem) -> None:
    text = WHOLE.replace("~=2.13.0", "2.13?")
    error = problem(text)
    assert (error.key, error.line) == ("expect.0.when.torch", line_of(text, 'when = { device = "cpu", torch'))
    assert error.problem.startswith("'2.13?' is not a version specifier; write it as for pip")


def test_an_invalid_value_is_reported_with_the_value(problem: Problem) -> None:
    error = problem(WHOLE.replace("loaded = 3", "loaded = -3"))
    assert (error.key, error.line) == ("expect.0.warm.vllm.loaded", line_of(WHOLE, "warm.vllm.loaded"))
    assert "(got -3)" in error.problem


def test_a_single_value_instead_of_a_list_is_an_error(problem: Problem) -> None:
    assert problem(HEAD + 'layer_kinds = "dense"\n').key == "layer_kinds"
    assert problem(HEAD + '[expect]\nmeasured = "today"\n').key == "expect"


@pytest.mark.parametrize("value", ["true", '"3"', "3.0"])
def test_a_count_that_is_not_an_integer_is_an_error(problem: Problem, value: str) -> None:
    assert problem(WHOLE.replace("loaded = 3", f"loaded = {value}")).key == "expect.0.warm.vllm.loaded"


def test_a_counter_that_is_given_twice_is_an_error(problem: Problem) -> None:
    problem(WHOLE.replace("cold.vllm.saved = 3\nwarm", 'cold."vllm.saved" = 4\ncold.vllm.saved = 3\nwarm'))


def test_a_missing_file(tmp_path: Path) -> None:
    for read in (read_entry, read_config):
        with pytest.raises(CatalogError, match="No such file") as raised:
            read(tmp_path / "absent")
        assert str(tmp_path / "absent") in str(raised.value)


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    for read in (read_entry, read_config):
        with pytest.raises(CatalogError, match="directory"):
            read(tmp_path)


def test_bytes_that_are_not_text(problem: Problem, config_problem: ConfigProblem) -> None:
    assert "not UTF-8 text" in problem("id = '\udcff'").problem
    assert "not UTF-8 text" in config_problem(b'{"a": "\xff"}').problem


def test_a_number_that_is_too_long_for_python(problem: Problem, config_problem: ConfigProblem) -> None:
    digits = "1" * (sys.get_int_max_str_digits() + 1)
    problem(HEAD + f"layer_kinds = {digits}\n")
    config_problem(f'{{"architectures": ["A"], "n": {digits}}}'.encode())


def test_lists_that_are_nested_too_deep_for_python(problem: Problem, config_problem: ConfigProblem) -> None:
    depth = 100 * sys.getrecursionlimit()
    problem(f"{HEAD}layer_kinds = {'[' * depth}{']' * depth}\n")
    config_problem(b'{"architectures": ' + b"[" * depth + b"]" * depth + b"}")


def test_a_config_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"architectures": ["A", "B"], "n": 1}')
    assert read_config(file) == {"architectures": ["A", "B"], "n": 1}


@pytest.mark.parametrize("names", [None, [], "LlamaForCausalLM", [1], [None], {"a": "b"}])
def test_a_config_must_name_its_architecture(config_problem: ConfigProblem, names: object) -> None:
    error = config_problem(json.dumps({"n": 1, "architectures": names}, indent=1).encode())
    assert (error.key, error.line) == ("architectures", 3)
    assert '["LlamaForCausalLM"]' in error.problem


def test_a_config_without_architectures(config_problem: ConfigProblem) -> None:
    error = config_problem(b'{"n": 1}')
    assert (error.key, error.line) == ("architectures", None)


@pytest.mark.parametrize(("content", "name"), [(b"[]", "list"), (b"3", "int"), (b"null", "NoneType")])
def test_a_config_must_be_one_object(config_problem: ConfigProblem, content: bytes, name: str) -> None:
    assert f"must contain an object, not a {name}" in config_problem(content).problem


def test_invalid_json_is_reported_with_its_line(config_problem: ConfigProblem) -> None:
    error = config_problem(b'{\n "a": 1,\n}')
    assert (error.line, error.problem.startswith("not valid JSON: ")) == (3, True)


@contextmanager
def file_of(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "wild")
        file.write_bytes(content)
        yield file


def read_or_refuse(read: Callable[[Path], object], content: bytes) -> None:
    with file_of(content) as file:
        try:
            read(file)
        except CatalogError as error:
            assert str(file) in str(error)
            assert error.line is None or 1 <= error.line <= content.count(b"\n") + 1


words = st.sampled_from(
    ["id", "name", "config", "source", "shrink", "expect", "when", "cold", "vllm", "torch", "overrides", "devices"]
)
punctuation = st.sampled_from(["[[", "]]", "[", "]", "{", "}", "=", ".", ",", "\n", " ", '"', "'", '"""', "#", "\r\n"])
values = st.sampled_from(["1", "-1", "1.5", "true", '"x"', "[]", "{}", "nan", "2026-11-23", "07:30:00"])
tomlish = st.lists(words | punctuation | values | st.text(max_size=3), max_size=25).map("".join)


@wild
@given(tomlish)
def test_any_text_like_toml_is_read_or_an_error(text: str) -> None:
    read_or_refuse(read_entry, text.encode("utf-8", "surrogatepass"))


@wild
@given(tomlish)
def test_any_text_like_toml_after_an_entry_is_read_or_an_error(text: str) -> None:
    read_or_refuse(read_entry, HEAD.encode() + text.encode("utf-8", "surrogatepass"))


lines_with_a_key = [n for n, line in enumerate(WHOLE.splitlines()) if "=" in line]
toml_values = ["0", "-7", "2.5", "true", '""', '"cpu"', "[]", '["cpu"]', "[1]", "{}", "{ a = 1 }", "2026-11-23", "inf"]


@wild
@given(line=st.sampled_from(lines_with_a_key), change=words | st.sampled_from([None, *toml_values, "renamed"]))
def test_an_entry_with_one_changed_key_is_read_or_an_error(line: int, change: str | None) -> None:
    lines = WHOLE.splitlines()
    key, _, value = lines[line].partition("=")
    if change is None:
        del lines[line]
    elif change in toml_values:
        lines[line] = f"{key}= {change}"
    else:
        lines[line] = f"{change} ={value}"
    read_or_refuse(read_entry, "\n".join(lines).encode())


@wild
@given(st.binary(max_size=200))
def test_any_bytes_as_a_config_are_read_or_an_error(content: bytes) -> None:
    read_or_refuse(read_config, content)


@wild
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.just("architectures"), inner),
        max_leaves=6,
    )
)
def test_any_json_as_a_config_is_read_or_an_error(value: Any) -> None:
    read_or_refuse(read_config, json.dumps(value).encode())
