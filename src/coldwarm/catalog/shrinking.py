"""Shrinks a published config by rule, for every architecture, and keeps every kind of layer.

`shrink_by_rule(config)` returns the `[[shrink]]` tables of a catalog entry, each with its reason; `merged` applies them
to a config. Nothing is ever raised, and what is shrunk already is not shrunk again. The rules:

1. **Layers**: the first 8, or more if two layers of each kind need more (see `layer_choice`). The depth of encoders
   (of images, audio) is lowered in the same way, to 4 or more.
2. **Widths**: the hidden size, the intermediate sizes, and the numbers of heads of attention, Mamba and linear
   attention are multiplied by one fraction, so that the hidden size becomes small, 256 at least. All relations between
   them hold as published: heads times their size, ``expand`` times the hidden size. Where the size of a head is a value
   of its own and no such fraction exists, heads and widths get a fraction each. Not changed: the size of a head, rotary
   dimensions, latent ranks, the state of Mamba, sliding windows, the vocabulary, an indexer, the widths of encoders. A
   hidden size of 1024 or less stays.
3. **Key-value heads** keep their ratio to the heads: as many as heads, one, or a divisor.
4. **Experts**: a power of two, 8 or more, at least twice the number per token, and at least two for each expert group.
   The number per token and the groups stay as published, because routing is a part of the compiled graph.
5. **Quantization**: widths stay multiples of all block and group sizes of the ``quantization_config``.

Why widths are shrunk at all: neither the number of unique subgraphs nor what is shared depends on them, and a CPU
cannot start a model of published width in seconds (8 layers of DeepSeek-V3 with 16 experts have 15 GiB of weights).
What does depend on them is which kernels are compiled on a GPU, since kernel libraries choose by shape. MiniMax-M2.5
with a hidden size of 256 compiles 64 kernels of CuTe DSL that it does not compile with its published 3072
(records/README.md). To check the kernels of a model as published, shrink the layers and experts only,
``shrink_by_rule(config, widths=False)``, or give a published size back, ``--set hf_overrides.hidden_size=3072``.

The tables edit the config (`Shrink.edits_config`), instead of overriding values in the engine's memory: the engine then
derives everything that the config leaves out, for example the kinds of layers, from the shrunk values.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, gcd, lcm
from typing import Any

from coldwarm.catalog.layer_choice import NOT_ABOUT_LAYERS, LayerChoice, Path, choose_layers, has_layers, is_count
from coldwarm.core.model_entry import Shrink

_LANGUAGE = ("text_config", "llm_config", "language_config", "thinker_config")
"""Keys of the language model's config in a multimodal config."""

_HIDDEN = ("hidden_size", "n_embd", "d_model")
_HEADS = re.compile(
    r"^((swa_|global_)?num_attention_heads(_per_layer)?|n_heads?|num_heads|num_query_heads|mamba_(n|num)_heads"
    r"|n_mamba_heads|linear_num_(key|value)_heads|linear_num_heads|num_(k|v)_heads)$"
)
_ATTENTION_HEADS = re.compile(r"^((swa_|global_)?num_attention_heads(_per_layer)?|n_heads?|num_heads|num_query_heads)$")
_KV_HEADS = re.compile(
    r"^((swa_)?num_(global_)?key_value_heads|num_kv_heads|n_kv_heads|kv_n_heads|n_head_kv|multi_query_group_num"
    r"|num_query_groups)$"
)
# In most models, heads of Mamba times their size are `expand` times the hidden size.
_EXPAND = re.compile(r"^(mamba_)?expand$")
_MAMBA_HEADS = re.compile(r"^(mamba_(n|num)_heads|n_mamba_heads)$")
_MAMBA_HEAD_SIZE = re.compile(r"^mamba_(d_head|head_?dim)$")
_HEAD_GROUPS = re.compile(r"^(n_groups|mamba_n_?groups|o_groups)$")
_HEAD_SIZE = re.compile(r"^(head_dim|attention_head_dim|v_head_dim|qk_nope_head_dim|kv_channels)$")
_INTERMEDIATE = re.compile(
    r"(intermediate_size(_mlp)?|ffn_hidden_size|mlp_hidden_size|ffn_dim|feedforward_dim|block_ff_dim|block_ffn_dim"
    r"|shared_expert_size|n_inner|d_ff)$"
)
# They follow from the hidden size or the number of heads.
_WITH_HIDDEN = re.compile(r"^(mamba_d_ssm|mamba_d_inner|mamba_dt_rank|time_step_rank|dt_rank)$")
# A size that equals the hidden size, or twice that, is derived from it, unless its name is one of these.
_SIZE = re.compile(r"(_size|_dim)$")
_OTHER_SIZE = re.compile(
    r"(vocab|chunk|window|block|image|patch|state|head|rope|rotary|lora|rank|topk|kernel|buffer|cache)"
)
# The output of an encoder's projector.
_OUTPUT = re.compile(r"(^|_)(out|output|text|llm|lm|language|proj|projection|projector)_.*(size|dim)$")

_EXPERTS = re.compile(r"^(num_experts|num_local_experts|n_routed_experts|moe_num_experts|num_moe_experts)$")
_ZERO_EXPERTS = "zero_expert_num"
_EXPERTS_PER_TOKEN = re.compile(
    r"^(num_experts_per_tok(en)?|num_selected_experts|moe_top_?k|moe_k|top_k_experts|experts_per_token)$"
)
_EXPERT_GROUPS = re.compile(r"^(n_group|num_expert_groups?|n_expert_groups?)$")
_GROUPS_PER_TOKEN = "topk_group"

_SMALLEST_HIDDEN = 256  # that of vLLM's own startup tests (tests/compile/h100/test_startup.py)
_SMALL_HIDDEN = 1024
_FEWEST_HEADS = 2
_FEWEST_EXPERTS = 8
_SMALLEST_INTERMEDIATE = 256
_ALIGNMENT = 64  # of widths, for vectorized kernels


def shrink_by_rule(config: Mapping[str, Any], *, widths: bool = True) -> tuple[Shrink, ...]:
    """Return the `[[shrink]]` tables that shrink the published `config`, in the order of application.

    Args:
        config: The published config.json.
        widths: Whether to shrink the widths, too; the numbers of layers and of experts are always lowered.
    """
    shrinks: list[Shrink] = []
    for rule in (_layers, _experts, _widths) if widths else (_layers, _experts):
        for step in [*rule(config)]:
            shrinks.append(Shrink(reason=step.reason, overrides=_tree(step.values), edits_config=True))
            config = merged(config, shrinks[-1].overrides)
    return tuple(shrinks)


def merged(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `config` with the `overrides`.

    A nested table is merged, unless its keys are numbers of layers: it is then replaced.
    """
    result = copy.deepcopy(dict(config))
    for key, value in overrides.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and not all(number.isdecimal() for number in value):
            result[key] = merged(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


@dataclass(frozen=True)
class _Step:
    reason: str
    values: Mapping[Path, Any]


def _layers(config: Mapping[str, Any]) -> Iterator[_Step]:
    language = _language(config)
    if (choice := choose_layers(_at(config, language))) is not None:
        yield _Step(_reason(choice), _with_duplicates(config, language, choice.values))
    for path in _encoders(config, language, ()):
        if (choice := choose_layers(_at(config, path), encoder=True)) is not None:
            values = {(*path, *key): value for key, value in choice.values.items()}
            yield _Step(f"{'.'.join(path)}: {_reason(choice)}", values)


def _reason(choice: LayerChoice) -> str:
    number = len(choice.layers)
    which = f"the first {number}" if choice.is_beginning else f"{number} ({', '.join(map(str, choice.layers))})"
    if choice.kinds == 1:
        return f"{which} of {choice.published} layers, which the config does not distinguish"
    return (
        f"{which} of {choice.published} layers: at least two of each of the {choice.kinds} kinds by "
        f"{', '.join(choice.distinguished_by)}, or all of a kind with fewer"
    )


def _experts(config: Mapping[str, Any]) -> Iterator[_Step]:
    language = _language(config)
    found = list(_numbers(_at(config, language), ()))
    largest = {path: max(numbers) for path, numbers in found}

    def most(pattern: re.Pattern[str]) -> int:
        return max((number for path, number in largest.items() if pattern.search(path[-1])), default=1)

    per_token, groups = most(_EXPERTS_PER_TOKEN), most(_EXPERT_GROUPS)
    groups_per_token = max((n for path, n in largest.items() if path[-1] == _GROUPS_PER_TOKEN), default=groups)
    in_group = max(2, ceil(2 * per_token / groups), ceil(per_token / groups_per_token)) if groups > 1 else 1
    few = _power_of_two(max(_FEWEST_EXPERTS, 2 * per_token))
    few = max(few, _power_of_two(in_group) * groups)
    experts = {path: numbers for path, numbers in found if _EXPERTS.search(path[-1]) and max(numbers) > few}
    if not experts:
        return
    values = {path: _like(_at(config, (*language, *path)), few) for path in experts}
    published = max(max(numbers) for numbers in experts.values())
    for path, number in largest.items():
        if path[-1] == _ZERO_EXPERTS:
            values[path] = max(1, number * few // published)
    reason = f"{few} of {published} experts: enough for {per_token} per token"
    if groups > 1:
        reason += f" and {groups} expert groups"
    yield _Step(reason, _with_duplicates(config, language, values))


def _widths(config: Mapping[str, Any]) -> Iterator[_Step]:
    language = _language(config)
    model = _at(config, language)
    found = {path: numbers for path, numbers in _numbers(model, ()) if not _EXPERTS.search(path[-1])}
    hidden = next((model[key] for key in _HIDDEN if is_count(model.get(key))), 0)
    if hidden <= _SMALL_HIDDEN:
        return
    block = lcm(*(size for each in (config, model) for size in _block_sizes(each.get("quantization_config"))))
    sizes = _Sizes(model, found, hidden, lcm(_ALIGNMENT, block), _heads_in_block(found, block))
    fractions = _fractions(sizes)
    if fractions is None:
        return
    values = sizes.shrunk(*fractions)
    new_hidden = next(values[path] for path in ((key,) for key in _HIDDEN) if path in values)
    outputs = dict.fromkeys(_outputs(config, language, hidden), new_hidden)
    of_heads, of_widths = fractions
    by = f"by {of_widths}" if of_heads == of_widths or not sizes.heads else f"by {of_widths}, heads by {of_heads}"
    reason = f"widths are multiplied {by}; the size of a head, ranks and windows stay as published"
    yield _Step(reason, {**_with_duplicates(config, language, values), **outputs})


@dataclass(frozen=True)
class _Fraction:
    top: int
    bottom: int

    def of(self, number: int) -> int:
        """Return the product, rounded up."""
        return -(-number * self.top // self.bottom)

    def divides(self, number: int) -> bool:
        """Return whether the product is an integer."""
        return number * self.top % self.bottom == 0

    def __str__(self) -> str:
        common = gcd(self.top, self.bottom)
        return f"{self.top // common}/{self.bottom // common}"


@dataclass(frozen=True)
class _Sizes:
    """The published widths of a language model."""

    model: Mapping[str, Any]
    found: Mapping[Path, tuple[int, ...]]
    hidden: int
    unit: int
    """Widths stay multiples of it, as far as the published ones are."""
    heads_in_block: int
    """Numbers of attention heads must be multiples of it, if the published ones are."""

    @property
    def alignment(self) -> int:
        """The hidden size stays a multiple of it."""
        return gcd(self.unit, self.hidden)

    @property
    def heads_are_free(self) -> bool:
        """Whether the numbers of heads do not depend on the hidden size."""
        named = {path[-1]: own for path, own in self.found.items()}
        expanded = [n * self.hidden for key, own in named.items() if _EXPAND.search(key) for n in own]
        sizes = [n for key, own in named.items() if _MAMBA_HEAD_SIZE.search(key) for n in own]
        mamba = [n * size for key, own in named.items() if _MAMBA_HEADS.search(key) for n in own for size in sizes]
        return any(_HEAD_SIZE.search(key) for key in named) and not set(expanded) & set(mamba)

    @property
    def heads(self) -> list[int]:
        """All numbers of heads, but those of keys and values."""
        return [number for path, own in self.found.items() if _HEADS.search(path[-1]) for number in own]

    def fit(self, of_heads: _Fraction, of_widths: _Fraction) -> bool:
        """Return whether all sizes that depend on each other stay integers, and large enough."""
        new_hidden = of_widths.of(self.hidden)
        if not of_widths.divides(self.hidden) or new_hidden % self.alignment or new_hidden < _SMALLEST_HIDDEN:
            return False
        for path, numbers in self.found.items():
            for number in numbers:
                if _HEADS.search(path[-1]):
                    is_attention = _ATTENTION_HEADS.search(path[-1]) is not None
                    new = of_heads.of(number)
                    if not of_heads.divides(number) or (is_attention and new < min(number, _FEWEST_HEADS)):
                        return False
                    if is_attention and number % self.heads_in_block == 0 and new % self.heads_in_block:
                        return False
                elif self._is_tied(path[-1], number) and not of_widths.divides(number):
                    return False
        return True

    def shrunk(self, of_heads: _Fraction, of_widths: _Fraction) -> dict[Path, Any]:
        """Return the values that change."""
        values: dict[Path, Any] = {}
        heads = [n for path, own in self.found.items() if _ATTENTION_HEADS.search(path[-1]) for n in own]
        for path, numbers in self.found.items():
            new = [self._new(path[-1], n, of_heads, of_widths, min(heads, default=n)) for n in numbers]
            if new != list(numbers):
                values[path] = new if isinstance(_at(self.model, path), list) else new[0]
        return values

    def _new(self, key: str, number: int, of_heads: _Fraction, of_widths: _Fraction, heads: int) -> int:
        if _HEADS.search(key):
            return of_heads.of(number)
        if _KV_HEADS.search(key):
            return self._kv_heads(number, heads, of_heads.of(heads))
        if _HEAD_GROUPS.search(key):
            mamba = [n for path, own in self.found.items() if _MAMBA_HEADS.search(path[-1]) for n in own]
            return gcd(number, *(of_heads.of(n) for n in mamba or self.heads))
        if self._is_tied(key, number):
            return of_widths.of(number)
        if _INTERMEDIATE.search(key):
            small = max(of_widths.of(number), _SMALLEST_INTERMEDIATE)
            unit = gcd(self.unit, number)
            return min(number, ceil(small / unit) * unit)
        return number

    def _kv_heads(self, number: int, heads: int, new_heads: int) -> int:
        if number >= heads:
            return new_heads if number == heads else number
        unit = self.heads_in_block if number % self.heads_in_block == 0 else 1
        about = max(number * new_heads // heads, unit)
        return next((n for n in range(about, 0, -1) if new_heads % n == 0 and n % unit == 0), min(number, unit))

    def _is_tied(self, key: str, number: int) -> bool:
        if _WITH_HIDDEN.search(key) or key in _HIDDEN:
            return True
        return number in (self.hidden, 2 * self.hidden) and bool(_SIZE.search(key)) and not _OTHER_SIZE.search(key)


def _fractions(sizes: _Sizes) -> tuple[_Fraction, _Fraction] | None:
    """Return the fractions for heads and for widths, the same if possible; None if none fit."""
    smallest_units = sizes.hidden // sizes.alignment
    units = gcd(*sizes.heads) or smallest_units
    for top in range(1, units):
        fraction = _Fraction(top, units)
        if sizes.fit(fraction, fraction):
            if fraction.of(sizes.hidden) <= _SMALL_HIDDEN:
                return fraction, fraction
            break
    if not sizes.heads_are_free:
        return None
    for top in range(1, smallest_units):
        of_widths = _Fraction(top, smallest_units)
        if of_widths.of(sizes.hidden) > _SMALL_HIDDEN:
            return None
        for top_of_heads in range(1, units + 1):
            of_heads = _Fraction(top_of_heads, units)
            if sizes.fit(of_heads, of_widths):
                return of_heads, of_widths
    return None


def _heads_in_block(found: Mapping[Path, tuple[int, ...]], block: int) -> int:
    """Return how many heads fill whole quantized blocks of `block` values."""
    sizes = [number for path, own in found.items() if _HEAD_SIZE.search(path[-1]) for number in own]
    return lcm(*(block // gcd(block, size) for size in sizes))


def _numbers(config: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """Yield each value that is a number above 0 or a list of such, by its path; skip encoders and rotary embeddings."""
    for key, value in config.items():
        if NOT_ABOUT_LAYERS.search(key):
            continue
        if is_count(value):
            yield (*path, key), (value,)
        elif isinstance(value, list) and value and all(is_count(each) for each in value):
            yield (*path, key), tuple(value)
        elif isinstance(value, Mapping) and not has_layers(value):
            yield from _numbers(value, (*path, key))


def _block_sizes(quantization: object) -> Iterator[int]:
    """Yield all block and group sizes in a ``quantization_config``."""
    if isinstance(quantization, Mapping):
        for key, value in quantization.items():
            if key in ("group_size", "weight_block_size", "block_structure", "q_group_size"):
                yield from (size for size in (value if isinstance(value, list) else [value]) if is_count(size))
            else:
                yield from _block_sizes(value)


def _language(config: Mapping[str, Any]) -> Path:
    """Return the path of the language model's config; empty: the config itself."""
    for key in _LANGUAGE:
        if isinstance(inner := config.get(key), Mapping):
            return (key, *_language(inner))
    return ()


def _encoders(config: Mapping[str, Any], language: Path, path: Path) -> Iterator[Path]:
    """Yield the paths of all other configs with layers."""
    for key, value in config.items():
        here = (*path, key)
        if not isinstance(value, Mapping) or here == language or NOT_ABOUT_LAYERS.search(key):
            continue
        if has_layers(value):
            yield here
        yield from _encoders(value, language, here)


def _outputs(config: Mapping[str, Any], language: Path, hidden: int) -> Iterator[Path]:
    """Yield the paths of sizes outside the language model that are those of its input."""
    pending: list[Path] = [()]
    while pending:
        path = pending.pop()
        if path == language and language:
            continue
        for key, value in _at(config, path).items():
            if isinstance(value, Mapping):
                pending.append((*path, key))
            elif is_count(value) and value == hidden and (path or language) and _OUTPUT.search(key):
                yield (*path, key)


def _with_duplicates(config: Mapping[str, Any], language: Path, values: Mapping[Path, Any]) -> dict[Path, Any]:
    """Return the language model's new values by their paths in `config`, also for the copies at the top of it."""
    everywhere = {(*language, *path): value for path, value in values.items()}
    for path, value in values.items():
        if language and len(path) == 1 and config.get(path[0]) == _at(config, (*language, *path)):
            everywhere[path] = value
    return everywhere


def _like(published: Any, number: int) -> Any:
    return [min(number, each) for each in published] if isinstance(published, list) else number


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _at(config: Mapping[str, Any], path: Path) -> Any:
    value: Any = config
    for key in path:
        value = value[key]
    return value


def _tree(values: Mapping[Path, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        inner = tree
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return tree
