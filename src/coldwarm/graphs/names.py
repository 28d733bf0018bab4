"""Names the groups of identical subgraphs of a model, and determines which of them may differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from coldwarm.graphs.subgraphs import CompiledModel, SubgraphClass

_LAYER = re.compile(r"_modules_(\d+)_")
_EXPERTS = re.compile(r"experts|_moe_|moe_forward", re.IGNORECASE)

# The roles (names without layer numbers) and types of a subgraph's parameters and buffers. Subgraphs between the first
# and the last one with the same roles and types are the same part of a model.
Part = frozenset[tuple[tuple[str, str], int]]


def part_of(one: SubgraphClass) -> tuple[Part, str, tuple[int, int]]:
    """Return the subgraphs' part of the model and compile range; groups with the same result should be one."""
    start = one.members[0].start
    modules = Counter((value.role(), value.type) for value in one.inputs if value.is_of_module())
    position = "first" if start.index == 0 else "last" if start.index == start.total - 1 else "between"
    return frozenset(modules.items()), position, start.compile_range


def names_of(model: CompiledModel) -> list[str]:
    """Return a name for each group: ``first``, ``last``, ``dense layer``, ``MoE layer``; the same for the same part."""
    parts = [part_of(one) for one in model.classes]
    plain = [_plain_name(one) for one in model.classes]
    names = []
    for part, name, one in zip(parts, plain, model.classes, strict=True):
        others = {other for other, same in zip(parts, plain, strict=True) if same == name}
        names.append(name if len(others) == 1 else f"{name}, {_layers(one, parts, part, model)}")
    names = _with_distinct_names(names, parts, model)
    ranges = [one.members[0].start.compile_range for one in model.classes]
    if len(set(ranges)) > 1:
        names = [f"{name}, {first} to {last} tokens" for name, (first, last) in zip(names, ranges, strict=True)]
    return names


def _with_distinct_names(names: list[str], parts: Sequence[object], model: CompiledModel) -> list[str]:
    """Return the names, with the first subgraph added if two parts have the same name."""
    parts_by_name: dict[str, list[object]] = {}
    first_of_part: dict[object, str] = {}
    for name, part, one in zip(names, parts, model.classes, strict=True):
        first_of_part.setdefault(part, one.members[0].start.submodule)
        if part not in parts_by_name.setdefault(name, []):
            parts_by_name[name].append(part)
    return [
        name if len(parts_by_name[name]) == 1 else f"{name} ({first_of_part[part]})"
        for name, part in zip(names, parts, strict=True)
    ]


def _plain_name(one: SubgraphClass) -> str:
    start = one.members[0].start
    if start.total == 1:
        return "whole model"
    if start.index == 0:
        return "first"
    if start.index == start.total - 1:
        return "last"
    # On a CPU, the experts' weights are inputs; on a GPU, the whole MoE layer is one opaque operation.
    has_experts = any(_EXPERTS.search(value.name) for value in one.inputs) or _EXPERTS.search(one.outline)
    return "MoE layer" if has_experts else "dense layer"


def _layers(one: SubgraphClass, parts: Sequence[object], part: object, model: CompiledModel) -> str:
    """Describe the layers of all groups of the same part."""
    numbers = sorted(
        {
            number
            for other, its_part in zip(model.classes, parts, strict=True)
            if its_part == part
            for number in _numbers(other)
        }
    )
    return f"from layer {numbers[0]}" if numbers else f"from {one.members[0].start.submodule}"


def _numbers(one: SubgraphClass) -> list[int]:
    # A buffer that all layers share may have the number of the first one.
    own = [
        int(found[1]) for value in one.inputs if "_parameters_" in value.name and (found := _LAYER.search(value.name))
    ]
    return own[:1]
