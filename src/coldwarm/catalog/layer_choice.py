"""Chooses a few layers of a published config that show every kind of layer, and cuts per-layer values to them.

What a config says about its layers is recognized by form, not by the model's name:

- a list or a string with one entry for each layer (``layer_types``, ``hybrid_override_pattern``, ``no_rope_layers``);
  it may have further entries at its end for the layers of a drafter (``compress_ratios``);
- an ascending list of layer numbers, from 0 or from 1 (``full_attn_idxs``, ``kda_layers``), or a table by layer number
  (``per_layer_config``);
- the number of different layers at the beginning or at the end (``first_k_dense_replace``, ``num_kv_shared_layers``);
- a period (``full_attention_interval``, ``attn_layer_period``).

A model that runs stacks of layers several times (``num_layers_per_stack``) keeps two layers of each stack.

Two layers are of the same kind if all of these agree on them. A list of numbers that mostly differ from layer to layer
is data, not kinds: it is cut, but not compared.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeGuard

Path = tuple[str, ...]
"""The keys that lead to a value of a config."""

DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Keys of the number of layers."""
_OTHER_DEPTHS = ("depth", "layers", "encoder_layers", "vt_num_hidden_layers")
"""Further keys of it in the config of an encoder."""
_LISTS_INSTEAD_OF_DEPTH = ("layers_block_type", "hybrid_override_pattern")
"""If a config does not have the number of layers, it is the length of one of these (Nemotron-H)."""

MIN_LAYERS = 8
"""As in vLLM's own startup tests (tests/compile/h100/test_startup.py)."""
MIN_ENCODER_LAYERS = 4
_PER_STACK = "num_layers_per_stack"
_OF_EACH_KIND = 2  # so that one can share the artifact of the other
_LONGEST_BEGINNING = 24

_LEADING = re.compile(
    r"^(first_k_dense\w*|first_n_dense\w*|(num|n)_(first_)?dense_layers|moe_layer_start_index|(num|n)_hash_layers"
    r"|max_window_layers)$"
)
_TRAILING = re.compile(r"^num_kv_shared_layers$")
_LAST = re.compile(r"^moe_layer_end_index$")
_PERIOD = re.compile(
    r"(_interval|_period|layer_freq|_every_n(_layers)?|window_pattern|(sparse|layer|mamba)_step|layer_group_size)$"
)
_POSITIONS = re.compile(r"(idxs?|ids|index(es)?|indices|layers)$")
# Periods that a config class of transformers 5.19 has as defaults and published configs leave out; a period of up to
# half of MIN_LAYERS needs no entry.
_PERIOD_BY_DEFAULT = {"gemma3": 6, "gemma3_text": 6}
# Not about layers, even if such a list has as many entries by chance: scaling factors, one for each rotary dimension.
NOT_ABOUT_LAYERS = re.compile(r"(^rope_|^quantization_config$|^compression_config$|_token_ids?$|^id2label$|^label2id$)")


@dataclass(frozen=True)
class LayerChoice:
    """The layers to keep, and what the config then says about them."""

    layers: tuple[int, ...]
    """The numbers of the kept layers in the published model, from 0, ascending."""
    published: int
    """The number of layers of the published model."""
    kinds: int
    """The number of kinds of layers that the config distinguishes."""
    distinguished_by: tuple[str, ...]
    """The keys that tell kinds of layers apart."""
    values: Mapping[Path, Any]
    """The new value of each key that changes, the number of layers included."""

    @property
    def is_beginning(self) -> bool:
        """Whether the kept layers are the first ones."""
        return self.layers == tuple(range(len(self.layers)))


def choose_layers(config: Mapping[str, Any], *, encoder: bool = False) -> LayerChoice | None:
    """Return the layers of `config` to keep: at least two of each kind, or all of a kind with fewer.

    These are the first layers if possible, as many as necessary, but at least `MIN_LAYERS`: neighbors are then those of
    the published model. If that takes more than 24 layers, and nothing depends on a period, single layers are chosen,
    with whatever refers to their numbers adapted.

    Args:
        config: The config of a language model, or of an encoder.
        encoder: Whether it is an encoder's, of which `MIN_ENCODER_LAYERS` are enough.

    Returns:
        None if it does not have the number of layers, or if all layers are kept.
    """
    depths = (*DEPTHS, *_OTHER_DEPTHS) if encoder else DEPTHS
    depth = _depth(config, depths)
    if depth is None:
        return None
    if is_count(per_stack := config.get(_PER_STACK)):
        return _stacks(depth, per_stack)
    facts = [*_facts(config, (), depth, max(_drafter_layers(config), 1))]
    if (period := _PERIOD_BY_DEFAULT.get(str(config.get("model_type")))) and not any(
        fact.distinguishes for fact in facts
    ):
        facts.append(_Period(("sliding_window_pattern",), period))
    periodic = any(isinstance(fact, _Period) for fact in facts)
    facts = _without_listed_periods(facts, depth)
    kinds = [tuple(fact.kind(layer) for fact in facts) for layer in range(depth)]
    layers = _chosen(kinds, MIN_ENCODER_LAYERS if encoder else MIN_LAYERS, periodic)
    if len(layers) == depth:
        return None
    values = {fact.path: fact.cut(layers) for fact in facts if not isinstance(fact, _Period)}
    values |= {(key,): len(layers) for key in depths if config.get(key) == depth}
    return LayerChoice(
        layers=layers,
        published=depth,
        kinds=len(set(kinds)),
        distinguished_by=tuple(dict.fromkeys(fact.path[-1] for fact in facts if fact.distinguishes)),
        values={path: value for path, value in values.items() if value != _at(config, path)},
    )


def has_layers(config: object) -> bool:
    """Return whether `config` is that of a model or of an encoder, which has a number of layers."""
    return isinstance(config, Mapping) and _depth(config, (*DEPTHS, *_OTHER_DEPTHS)) is not None


def is_count(value: object) -> TypeGuard[int]:
    """Return whether `value` is an integer above 0, and not a boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


class _Fact(Protocol):
    """What one value of a config says about its layers."""

    @property
    def path(self) -> Path: ...

    @property
    def distinguishes(self) -> bool:
        """Whether it distinguishes kinds of layers."""

    def kind(self, layer: int) -> Hashable:
        """Return a value that is the same for layers which this fact does not tell apart."""

    def cut(self, layers: Sequence[int]) -> Any:
        """Return the value for a model with only these layers."""


@dataclass(frozen=True)
class _PerLayer:
    """A list or a string with one entry for each layer, and possibly some for the layers of a drafter."""

    path: Path
    entries: list[Any] | str
    layers: int

    @property
    def distinguishes(self) -> bool:
        return self._distinct > 1 and not self._is_data

    @property
    def _distinct(self) -> int:
        return len({_comparable(entry) for entry in self.entries[: self.layers]})

    @property
    def _is_data(self) -> bool:
        numbers = all(isinstance(entry, int | float) for entry in self.entries)
        return numbers and 2 * self._distinct > self.layers

    def kind(self, layer: int) -> Hashable:
        return None if self._is_data else _comparable(self.entries[layer])

    def cut(self, layers: Sequence[int]) -> Any:
        kept = [self.entries[layer] for layer in layers]
        rest = self.entries[self.layers :]
        return "".join(kept) + rest if isinstance(rest, str) else kept + rest


@dataclass(frozen=True)
class _Positions:
    """Numbers of layers, ascending."""

    path: Path
    numbers: list[int]
    first: int
    """The number of the first layer: 0 or 1."""
    distinguishes = True

    def kind(self, layer: int) -> Hashable:
        return layer + self.first in self.numbers

    def cut(self, layers: Sequence[int]) -> Any:
        return [new + self.first for new, old in enumerate(layers) if old + self.first in self.numbers]


@dataclass(frozen=True)
class _ByNumber:
    """A table with entries for some layers, by their numbers as text, which may have leading zeros."""

    path: Path
    table: Mapping[str, Any]
    distinguishes = True

    def kind(self, layer: int) -> Hashable:
        return next((_comparable(entry) for number, entry in self.table.items() if int(number) == layer), None)

    def cut(self, layers: Sequence[int]) -> Any:
        kept = {old: new for new, old in enumerate(layers)}
        return {
            str(kept[int(number)]).zfill(len(number)): entry
            for number, entry in self.table.items()
            if int(number) in kept
        }


@dataclass(frozen=True)
class _Leading:
    """The number of layers at the beginning that differ from the others."""

    path: Path
    number: int
    distinguishes = True

    def kind(self, layer: int) -> Hashable:
        return layer < self.number

    def cut(self, layers: Sequence[int]) -> Any:
        return sum(layer < self.number for layer in layers)


@dataclass(frozen=True)
class _Trailing:
    """The number of layers at the end that differ from the others."""

    path: Path
    number: int
    layers: int
    distinguishes = True

    def kind(self, layer: int) -> Hashable:
        return layer >= self.layers - self.number

    def cut(self, layers: Sequence[int]) -> Any:
        return sum(layer >= self.layers - self.number for layer in layers)


@dataclass(frozen=True)
class _Last:
    """The number of the last layer before others that differ."""

    path: Path
    number: int
    distinguishes = True

    def kind(self, layer: int) -> Hashable:
        return layer <= self.number

    def cut(self, layers: Sequence[int]) -> Any:
        return sum(layer <= self.number for layer in layers) - 1


@dataclass(frozen=True)
class _Period:
    """A period of layers. Which layer of a period differs is not known, so each is a kind."""

    path: Path
    length: int
    distinguishes = True

    def kind(self, layer: int) -> Hashable:
        return layer % self.length

    def cut(self, layers: Sequence[int]) -> Any:
        return self.length


def _facts(config: Mapping[str, Any], path: Path, depth: int, drafter: int) -> Iterator[_Fact]:
    """Yield what `config`, which is at `path`, and the plain tables in it say about the layers."""
    positions: list[tuple[Path, list[int]]] = []
    for key, value in config.items():
        here = (*path, key)
        if NOT_ABOUT_LAYERS.search(key):
            continue
        if isinstance(value, list) and _are_positions(key, value, depth):
            positions.append((here, value))
        elif isinstance(value, list | str) and depth <= len(value) <= depth + drafter and len(value) > 1:
            if isinstance(value, list) or re.search(r"pattern|types?$", key):
                yield _PerLayer(here, value, depth)
        elif isinstance(value, str) and _PERIOD.search(key) and 1 < len(value) < depth:
            yield _Period(here, len(value))
        elif isinstance(value, Mapping) and value and all(number.isdecimal() for number in value):
            if all(int(number) < depth for number in value):
                yield _ByNumber(here, value)
        elif isinstance(value, Mapping) and not has_layers(value):
            yield from _facts(value, here, depth, drafter)
        elif is_count(value) and value <= depth:
            yield from _fact_of_number(key, here, value, config, depth)
    # Numbers from 1 are recognized by the number of the last layer; without it, they are from 0.
    numbers = {number for _, own in positions for number in own}
    first = 1 if depth in numbers and 0 not in numbers else 0
    yield from (_Positions(here, own, first) for here, own in positions if own[-1] < depth + first)


def _fact_of_number(key: str, here: Path, value: int, config: Mapping[str, Any], depth: int) -> Iterator[_Fact]:
    if _LEADING.search(key):
        if key != "max_window_layers" or config.get("use_sliding_window"):
            yield _Leading(here, value)
    elif _TRAILING.search(key):
        yield _Trailing(here, value, depth)
    elif _LAST.search(key):
        yield _Last(here, value)
    elif _PERIOD.search(key) and value > 1:
        yield _Period(here, value)


def _are_positions(key: str, values: list[Any], depth: int) -> bool:
    return (
        bool(values)
        and bool(_POSITIONS.search(key))
        and all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= depth for value in values)
        and all(one < next_ for one, next_ in pairwise(values))
    )


def _stacks(depth: int, per_stack: int) -> LayerChoice | None:
    """Return the choice of two layers of each stack, of a model that runs its stacks one after the other."""
    if per_stack <= _OF_EACH_KIND or depth % per_stack:
        return None
    layers = tuple(layer for layer in range(depth) if layer % per_stack < _OF_EACH_KIND)
    values: dict[Path, Any] = {(_PER_STACK,): _OF_EACH_KIND, ("num_hidden_layers",): len(layers)}
    return LayerChoice(layers=layers, published=depth, kinds=1, distinguished_by=(), values=values)


def _without_listed_periods(facts: list[_Fact], depth: int) -> list[_Fact]:
    """Return the facts without each period that a list with an entry for each layer has, too."""
    periods = {
        next((n for n in range(1, depth // 2 + 1) if all(own.kind(k) == own.kind(k % n) for k in range(depth))), None)
        for own in facts
        if isinstance(own, _PerLayer)
    }
    return [fact for fact in facts if not isinstance(fact, _Period) or fact.length not in periods]


def _chosen(kinds: Sequence[Hashable], fewest: int, periodic: bool) -> tuple[int, ...]:
    needed = {kind: min(_OF_EACH_KIND, number) for kind, number in Counter(kinds).items()}
    firsts: list[int] = []
    for layer, kind in enumerate(kinds):
        if needed[kind]:
            needed[kind] -= 1
            firsts.append(layer)
    beginning = range(min(len(kinds), max(fewest, firsts[-1] + 1)))
    if len(beginning) <= _LONGEST_BEGINNING or periodic:
        return tuple(beginning)
    others = (layer for layer in beginning if layer not in firsts)
    return tuple(sorted([*firsts, *(layer for _, layer in zip(range(fewest - len(firsts)), others, strict=False))]))


def _depth(config: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    for key in keys:
        if is_count(value := config.get(key)):
            return value
    for key in _LISTS_INSTEAD_OF_DEPTH:
        if isinstance(value := config.get(key), list | str) and value:
            return len(value)
    return None


def _drafter_layers(config: Mapping[str, Any]) -> int:
    layers = config.get("num_nextn_predict_layers")
    return layers if isinstance(layers, int) else 0


def _comparable(entry: object) -> Hashable:
    return json.dumps(entry, sort_keys=True, default=str)


def _at(config: Mapping[str, Any], path: Path) -> Any:
    for key in path[:-1]:
        config = config[key]
    return config.get(path[-1])
