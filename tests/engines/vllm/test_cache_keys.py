from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.engines.vllm.cache_keys import (
    UNNAMED,
    KeyProbe,
    _items,
    _restored,
    _text,
    _watching_hashes,
)


def flat(value: object, name: str = "") -> dict[str, str]:
    """Return the components that `value` is split into."""
    watch = KeyProbe()
    watch._add_flat("group", name, value)
    return watch.keys.factors["group"]


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ({"a": 1}, {"a": 1}),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        ({}, {}),
        ((("a", 1), ("b", (2, 3))), {"a": 1, "b": (2, 3)}),
        ('{"a": {"b": null}}', {"a": {"b": None}}),
        ("{}", {}),
        ((), None),
        ((1, 2), None),
        (("a", 1), None),
        ((("a", 1), "b"), None),
        (((1, "a"),), None),
        ([("a", 1)], None),
        ("{not JSON}", None),
        ("[1]", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_a_mapping_has_items_in_every_notation(value: object, items: dict[str, Any] | None) -> None:
    assert _items(value) == items


def test_a_mapping_is_flattened_to_dotted_names() -> None:
    value = {"system": {"device": "x86", "version": (("cuda", None), ("hip", "6"))}, "json": '{"k": [1]}', "n": 1.5}
    assert flat(value) == {
        "system.device": "x86",
        "system.version.cuda": "None",
        "system.version.hip": "6",
        "json.k": "[1]",
        "n": "1.5",
    }


def test_other_values_are_one_component() -> None:
    assert flat(b"\x00key", "key") == {"key": r"b'\x00key'"}
    assert flat([1, "a"], "key") == {"key": "[1, 'a']"}


def test_an_empty_mapping_is_a_group_without_components() -> None:
    assert flat({}) == {}


def test_a_short_text_is_recorded_unchanged() -> None:
    assert _text("a" * 1000) == "a" * 1000
    assert _text(None) == "None"
    assert _text(("a", 1)) == "('a', 1)"


def test_a_long_text_is_cut_off_and_has_a_digest() -> None:
    long = "x" * 5000
    digest = hashlib.sha256(long.encode()).hexdigest()[:16]
    assert _text(long) == f"{'x' * 1000}... (5000 characters, sha256 {digest})"
    assert _text(long) != _text(long[:-1] + "y")


@pytest.mark.parametrize("value", ["\udcff", "\udcff" * 2000])
def test_a_value_that_is_not_utf8_can_be_recorded(value: str) -> None:
    # The value in os.environ of VLLM_X=$'\xff'.
    watch = KeyProbe()
    watch.keys.add("environment", "VLLM_X", _text(value))
    watch.keys.model_dump_json()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), values, max_size=3))
def test_any_mapping_is_flattened_to_text(value: dict[str, Any]) -> None:
    factors = flat(value)
    assert all(isinstance(text, str) for text in factors.values())
    assert flat(tuple(value.items())) == factors or not value


@pytest.mark.parametrize(("moment", "order"), [("before", ["watch", "add"]), ("after", ["add", "watch"])])
def test_a_watched_function_is_called_as_before(moment: str, order: list[str]) -> None:
    called: list[str] = []

    def add(one: int, *, more: int) -> int:
        """Add."""
        called.append("add")
        return one + more

    def watch(one: int, *, more: int) -> None:
        assert (one, more) == (1, 2)
        called.append("watch")

    owner = SimpleNamespace(add=add)
    key_watch = KeyProbe()
    key_watch._watch(owner, "add", **{moment: watch})
    assert owner.add(1, more=2) == 3
    assert called == order
    assert key_watch.keys.problems == []
    assert (owner.add.__name__, owner.add.__doc__) == ("add", "Add.")


def test_an_exception_of_a_watched_function_is_raised() -> None:
    def verify(reason: str) -> None:
        raise RuntimeError(reason)

    seen: list[str] = []
    owner = SimpleNamespace(verify=verify)
    KeyProbe()._watch(owner, "verify", after=seen.append)
    with pytest.raises(RuntimeError, match="Source code has changed"):
        owner.verify("Source code has changed")
    assert seen == ["Source code has changed"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_exception_of_a_watcher_is_recorded_and_not_raised(moment: str) -> None:
    def watch(one: int) -> None:
        raise KeyError("gone")

    owner = SimpleNamespace(double=lambda one: 2 * one)
    key_watch = KeyProbe()
    key_watch._watch(owner, "double", **{moment: watch})
    assert owner.double(2) == 4
    assert key_watch.keys.problems == ["double: KeyError: 'gone'"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_function_that_this_version_does_not_have_is_skipped(moment: str) -> None:
    owner = SimpleNamespace()
    KeyProbe()._watch(owner, "absent", **{moment: print})
    assert vars(owner) == {}


def test_replaced_attributes_are_restored_after_an_exception() -> None:
    owner = SimpleNamespace(a=1, b=2)
    with pytest.raises(ValueError, match="stop"), _restored() as replace:
        replace(owner, "a", 10)
        replace(owner, "a", 100)
        replace(owner, "b", 20)
        assert vars(owner) == {"a": 100, "b": 20}
        raise ValueError("stop")
    assert vars(owner) == {"a": 1, "b": 2}


class FakeVllm:
    """The parts of vLLM that compute cache keys (vllm/config/utils.py, compilation/backends.py, decorators.py)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ["", ".envs", ".config", ".config.utils", ".compilation"]
        names += [f".compilation.{part}" for part in ("backends", "caching", "compiler_interface", "decorators")]
        self.modules: dict[str, Any] = {name: ModuleType(f"vllm{name}") for name in names}
        for name, each in self.modules.items():
            monkeypatch.setitem(sys.modules, f"vllm{name}", each)
            if name:
                parent, _, attribute = name.rpartition(".")
                setattr(self.modules[parent], attribute, each)
        self.modules[""].__version__ = "0.32.0"
        utils = self.modules[".config.utils"]
        utils.hash_factors = lambda factors: hashlib.sha256(json.dumps(factors).encode()).hexdigest()
        utils.safe_hash = lambda content, usedforsecurity=True: hashlib.md5(content, usedforsecurity=usedforsecurity)
        self.environment: dict[str, object] = {"VLLM_USE_V1": True, "VLLM_API_KEY": "hunter2", "VLLM_LIST": ["a"]}
        self.modules[".envs"].compile_factors = lambda: self.environment
        self.inductor: list[object] = [{"device": {"name": "x86"}}, b"key", {"max_autotune": False}, {"c": ""}]
        self.modules[".compilation.compiler_interface"].get_inductor_factors = lambda: self.inductor

        class VllmBackend:
            def __init__(self, vllm_config: object) -> None:
                self.vllm_config = vllm_config

            def __call__(self, graph: str, inputs: str = "") -> str:
                return f"compiled {graph}{inputs}"

        self.modules[".compilation.backends"].VllmBackend = VllmBackend
        self.modules[".compilation.caching"].aot_compile_hash_factors = lambda vllm_config: ["factors"]
        self.modules[".compilation.decorators"]._model_hash_key = lambda function: "hash"


@dataclass
class ModelConfig:
    seed: int = 0

    def compute_hash(self) -> str:
        return str(sys.modules["vllm.config.utils"].hash_factors({"model": "m", "seed": self.seed}))


@dataclass
class CacheConfig:
    block_size: int = 16
    unused: object = None

    def compute_hash(self) -> str:
        return str(sys.modules["vllm.config.utils"].safe_hash(str([self.block_size]).encode()).hexdigest())


@dataclass
class LoadConfig:
    def compute_hash(self) -> str:
        return "nothing is hashed"


@dataclass
class CompilationConfig:
    traced_files: set[str] = field(default_factory=set)

    def compute_hash(self) -> str:
        factors = sys.modules["vllm.config.utils"]
        factors.hash_factors({"mode": 3, "pass_config": {"fuse": False}})
        return str(factors.hash_factors({"backend": "inductor"}))


@dataclass
class VllmConfig:
    model_config: ModelConfig = field(default_factory=ModelConfig)
    cache_config: CacheConfig = field(default_factory=CacheConfig)
    load_config: LoadConfig = field(default_factory=LoadConfig)
    compilation_config: CompilationConfig = field(default_factory=CompilationConfig)
    additional_config: object = field(default_factory=dict)
    quant_config: object = None

    def compute_hash(self) -> str:
        parts = (self.model_config, self.cache_config, self.load_config, self.compilation_config)
        hashes = {"version": "0.32.0", "parts": [part.compute_hash() for part in parts]}
        return str(sys.modules["vllm.config.utils"].hash_factors(hashes))


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> FakeVllm:
    """Return a vLLM that only computes keys."""
    return FakeVllm(monkeypatch)


@pytest.mark.usefixtures("vllm")
def test_the_components_of_each_part_of_the_config_are_seen_and_the_hash_is_the_same() -> None:
    config = VllmConfig(additional_config={"a": 1})
    before = config.compute_hash()
    with _watching_hashes(config) as seen:
        assert config.compute_hash() == before
    assert seen == {
        "model_config": {"model": "m", "seed": 0},
        "cache_config": "[16]",
        "compilation_config": {"mode": 3, "pass_config": {"fuse": False}, "backend": "inductor"},
    }
    assert config.compute_hash() == before
    assert not hasattr(ModelConfig.compute_hash, "__wrapped__")
    assert not hasattr(sys.modules["vllm.config.utils"].safe_hash, "__wrapped__")


def test_hashes_are_no_longer_watched_after_an_exception(vllm: FakeVllm) -> None:
    config = VllmConfig()
    with pytest.raises(ValueError, match="no hash"), _watching_hashes(config):
        raise ValueError("no hash")
    assert not hasattr(ModelConfig.compute_hash, "__wrapped__")


def backend_of(vllm: FakeVllm, config: VllmConfig) -> Any:
    return vllm.modules[".compilation.backends"].VllmBackend(config)


def test_all_components_are_recorded_when_a_graph_is_compiled(vllm: FakeVllm, tmp_path: Path) -> None:
    source = tmp_path / "model.py"
    source.write_text("x = 1\n")
    files = {str(source), str(tmp_path / "gone.py"), "<eval_with_key>.1"}
    config = VllmConfig(compilation_config=CompilationConfig(files), additional_config={"seed": {"of": 1}})
    watch = KeyProbe()
    watch.install()
    assert watch.keys.factors == {}
    assert backend_of(vllm, config)("graph", inputs="s") == "compiled graphs"
    assert watch.keys.factors == {
        "vllm": {"version": "0.32.0"},
        "environment": {"VLLM_USE_V1": "True", "VLLM_API_KEY": "(set, not recorded)", "VLLM_LIST": "['a']"},
        "config.model_config": {"model": "m", "seed": "0"},
        "config.cache_config": {UNNAMED: "[16]"},
        "config.compilation_config": {"mode": "3", "pass_config.fuse": "False", "backend": "inductor"},
        "config.additional_config": {"seed.of": "1"},
        "system": {"device.name": "x86"},
        "torch": {"key": "b'key'"},
        "inductor config": {"max_autotune": "False"},
        "functorch config": {"c": ""},
        "source": {str(source): f"sha256 {hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"},
    }
    assert watch.keys.hints == {"config.cache_config": {"block_size": "16", "unused": "None"}}


def test_components_are_recorded_when_a_saved_function_is_looked_up(vllm: FakeVllm) -> None:
    watch = KeyProbe()
    watch.install()
    assert vllm.modules[".compilation.caching"].aot_compile_hash_factors(VllmConfig()) == ["factors"]

    def forward() -> None: ...

    assert vllm.modules[".compilation.decorators"]._model_hash_key(forward) == "hash"
    assert watch.keys.factors["vllm"] == {"version": "0.32.0"}
    line = forward.__code__.co_firstlineno
    assert watch.keys.factors["model"] == {"forward": f"{forward.__qualname__} at line {line}"}
    assert "source" not in watch.keys.factors


def test_the_first_config_stays_and_sources_are_added(vllm: FakeVllm, tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    for file in (one, other):
        file.write_text(file.name)
    watch = KeyProbe()
    watch.install()
    backend_of(vllm, VllmConfig(compilation_config=CompilationConfig({str(one)})))("graph")
    vllm.environment["VLLM_LATER"] = "1"
    backend_of(vllm, VllmConfig(ModelConfig(seed=7), compilation_config=CompilationConfig({str(other)})))("graph")
    assert watch.keys.factors["config.model_config"]["seed"] == "0"
    assert "VLLM_LATER" not in watch.keys.factors["environment"]
    assert watch.keys.factors["source"].keys() == {str(one), str(other)}


def test_sources_are_recorded_even_if_they_changed(vllm: FakeVllm, tmp_path: Path) -> None:
    source = tmp_path / "model.py"
    source.write_text("x = 2\n")

    def verify(loaded: object, vllm_config: VllmConfig) -> None:
        vllm_config.compilation_config.traced_files.add(str(source))
        raise RuntimeError("Source code has changed")

    decorators = vllm.modules[".compilation.decorators"]
    decorators._verify_source_unchanged = verify
    watch = KeyProbe()
    watch.install()
    with pytest.raises(RuntimeError, match="Source code has changed"):
        decorators._verify_source_unchanged("loaded", VllmConfig())
    assert watch.keys.factors["source"].keys() == {str(source)}


def test_an_additional_config_that_is_not_a_mapping_has_no_components(vllm: FakeVllm) -> None:
    watch = KeyProbe()
    watch.install()
    backend_of(vllm, VllmConfig(additional_config=object()))("graph")
    assert watch.keys.factors["config.additional_config"] == {}


def test_keys_of_a_version_with_fewer_components_are_recorded(vllm: FakeVllm) -> None:
    vllm.inductor = [{"device": "x86"}]
    del vllm.modules[".compilation.decorators"]._model_hash_key
    watch = KeyProbe()
    watch.install()
    backend_of(vllm, VllmConfig())("graph")
    assert watch.keys.factors["system"] == {"device": "x86"}
    assert "torch" not in watch.keys.factors


def test_watching_imports_neither_vllm_nor_torch() -> None:
    assert KeyProbe().keys.factors == {}
    assert not {"torch", "vllm"} & sys.modules.keys()
