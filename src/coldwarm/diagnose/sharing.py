"""Explains the number of unique subgraphs: groups that should share one artifact, and what prevents it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import trace_name
from coldwarm.graphs.differences import Difference, differences
from coldwarm.graphs.graph import Graph, Source
from coldwarm.graphs.names import names_of, part_of
from coldwarm.graphs.subgraphs import CompiledModel, SubgraphClass
from coldwarm.trace.triton_launches import has_launches

_MOST_DETAILS = 12
_LAUNCH_NUMBER = re.compile(r"(kernel|constant_args)_idx=")


class ClassReport(BaseModel):
    """A group of subgraphs that share an artifact, for reports."""

    name: str
    submodules: list[str]
    seconds: float
    """The compile time of the first of them."""
    key: str | None
    """The compiler's cache key."""


def class_reports(model: CompiledModel) -> list[ClassReport]:
    """Return the groups of `model`, in the order in which they were compiled."""
    return [
        ClassReport(
            name=name,
            submodules=[member.start.submodule for member in one.members],
            seconds=one.seconds,
            key=one.key,
        )
        for name, one in zip(names_of(model), model.classes, strict=True)
    ]


@dataclass(frozen=True)
class Unshared:
    """Groups of subgraphs of the same part of the model, each with an artifact of its own."""

    groups: list[SubgraphClass]
    name: str
    """The name of the part (`names_of`)."""
    by_launches: bool = False
    """Whether what the numbers of Triton launches stand for is compared, instead of the numbers."""

    @property
    def common(self) -> SubgraphClass:
        """The group that the others are compared with: the largest, preferably one whose graph most subgraphs have."""
        most = Counter[str]()
        for one in self.groups:
            most[one.graph.digest()] += len(one.members)
        return max(self.groups, key=lambda one: (len(one.members), most[one.graph.digest()]))


def unshared(model: CompiledModel) -> list[Unshared]:
    """Return the parts of the model that were compiled to more than one artifact."""
    groups: dict[object, list[SubgraphClass]] = {}
    for one in model.classes:
        groups.setdefault(part_of(one), []).append(one)
    names = dict(zip(map(id, model.classes), names_of(model), strict=True))
    found = []
    for group in groups.values():
        name = names[id(group[0])]
        alike = _alike_but_for_numbers(group)
        found += [Unshared(each, name) for each in alike if len(each) > 1]
        if len(alike) > 1:
            # Of each, the most expensive, so that no second is counted in two findings.
            rest = [max(each, key=lambda one: one.seconds) for each in alike]
            found.append(Unshared(rest, name, by_launches=True))
    return found


def sharing_findings(models: Sequence[CompiledModel]) -> list[Finding]:
    """Return a finding for each part of each model that was compiled to more than one artifact.

    Args:
        models: The compiled models of a start, in the order of compilation.
    """
    return [
        _finding(each, number, model.name if len(models) > 1 else None)
        for number, model in enumerate(models)
        for each in unshared(model)
    ]


def graphs_to_compare(one: SubgraphClass, common: SubgraphClass, *, by_launches: bool) -> tuple[Graph, Graph]:
    """Return the graphs of two groups, in the form in which they differ.

    If the graphs themselves are the same, those after AOTAutograd may differ: their types include strides and devices.
    """
    graphs = (one.launched, common.launched) if by_launches else (one.graph, common.graph)
    if one.lowered_code and common.lowered_code and not differences(*graphs):
        return one.lowered, common.lowered
    return graphs


def _alike_but_for_numbers(group: list[SubgraphClass]) -> list[list[SubgraphClass]]:
    """Group those whose graphs differ only in the numbers of Triton launches; all, if none launches a kernel.

    What the numbers stand for must be the same. Where the trace does not have that, the line of code decides.
    """
    if not any(has_launches(one.code) for one in group):
        return [group]
    alike: dict[str, list[SubgraphClass]] = {}
    for one in group:
        alike.setdefault(one.launched.digest(), []).append(one)
    return list(alike.values())


@dataclass
class _Merged:
    """A difference from the common group, and the groups that have it."""

    difference: Difference
    values: dict[str, str | None]


def _finding(part: Unshared, model: int, of_model: str | None) -> Finding:
    """Explain why the groups are not one.

    Args:
        part: The groups.
        model: The number of their model.
        of_model: The name of the model, if that has to be said.
    """
    group, common = part.groups, part.common
    others = [one for one in group if one is not common]
    merged: dict[tuple[str, ...], _Merged] = {}
    unlike: list[str] = []
    recompiled: list[str] = []
    for one in sorted(others, key=lambda one: one.members[0].start.index):
        found = _compare(one, common, by_launches=part.by_launches)
        if one.key and one.key == common.key:
            recompiled.append(_first(one))
        elif not found and one.key and common.key:
            unlike.append(_first(one))
        for difference in found:
            entry = merged.setdefault(difference.site, _Merged(difference, {}))
            entry.values[_first(one)] = difference.one
    source = next((entry.difference.source for entry in merged.values() if entry.difference.source), None)
    details = [_describe(entry, common, source) for entry in merged.values()][:_MOST_DETAILS]
    if len(merged) > _MOST_DETAILS:
        details.append(f"and {len(merged) - _MOST_DETAILS} more differences")
    hidden = _outside_the_graph([one for one in others if _first(one) in unlike], common)
    details += [text for text, _ in hidden]
    unlike = [name for name in unlike if not any(name in names for _, names in hidden)]
    if unlike:
        details.append(
            f"{', '.join(unlike)}: same graph as {_first(common)}, but a different compiler key, because of something "
            "that is not in the graph (the strides of its inputs, or the compiler's config)"
        )
    if recompiled:
        details.append(
            f"{', '.join(recompiled)}: same compiler key as {_first(common)}, but recompiled, because the compiler's "
            "cache did not have the result"
        )
    bypassed = sorted({one.bypass for one in group if one.bypass})
    details += [f"the compiler could not compute a key: {reason}" for reason in bypassed]
    subgraphs = sum(len(one.members) for one in group)
    of = "" if of_model is None else f" of {of_model}"
    return Finding(
        kind=FindingKind.NOT_SHARED,
        start=StartKind.COLD,
        model=model,
        what=f"{subgraphs} subgraphs ({part.name}){of} compiled to {len(group)} artifacts instead of 1: "
        + (details[0] if details else "the trace shows no difference between them"),
        where=None if source is None else str(source),
        code=None if source is None else source.code,
        details=details[1:],
        evidence=[
            Evidence(
                file=f"{trace_name(StartKind.COLD)}/{member.dump.file}",
                record=f"line {member.dump.line}: {member.dump_name}",
            )
            for one in group[:4]
            for member in one.members[:1]
            if member.dump is not None
        ],
        seconds=_seconds_saved(group),
        extra_artifacts=_extra_artifacts(next(iter(merged.values()), None)),
        next=_advice(list(merged.values()), source),
    )


def _outside_the_graph(unlike: list[SubgraphClass], common: SubgraphClass) -> list[tuple[str, list[str]]]:
    """Describe why groups with the graph of `common` have different keys: each cause, and the groups that have it."""
    found = []
    for number in sorted({number for one in [*unlike, common] for number in one.offsets}):
        values = {_first(one): one.offsets.get(number, 0) for one in [common, *unlike]}
        if len(set(values.values())) > 1 and number < len(common.inputs):
            found.append(
                (
                    f"the storage offset of an input (`{common.inputs[number].name}` in {_first(common)}) is part of "
                    f"the compiler's key and differs: {_by_class(values)}",
                    [name for name in values if values[name] != values[_first(common)]],
                )
            )
    for number, value in enumerate(common.inputs):
        names = {
            _first(one): one.inputs[number].name for one in [common, *unlike] if len(one.inputs) == len(common.inputs)
        }
        if value.type.startswith("Sym(") and len(set(names.values())) > 1:
            found.append(
                (
                    f"the name of a symbolic input is part of the compiler's key and differs: {_by_class(names)}; "
                    "PyTorch normalizes only the names of tensor inputs (torch/_functorch/_aot_autograd/"
                    "autograd_cache.py, normalize_placeholder_names)",
                    [name for name in names if names[name] != names[_first(common)]],
                )
            )
    return found


def _by_class(values: Mapping[str, object]) -> str:
    shown = [f"{value} in {name}" for name, value in values.items()]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def _extra_artifacts(entry: _Merged | None) -> int:
    """Return how many artifacts a difference adds: one for each value other than that of the common group."""
    return len({*entry.values.values()} - {entry.difference.other}) if entry else 0


def _compare(one: SubgraphClass, common: SubgraphClass, *, by_launches: bool) -> list[Difference]:
    graphs = graphs_to_compare(one, common, by_launches=by_launches)
    found = differences(*graphs)
    if graphs[0] is one.lowered:
        # The same graph, but inputs with a different layout.
        return [each for each in found if each.kind in ("input", "type")]
    return found


def _describe(entry: _Merged, common: SubgraphClass, where: Source | None) -> str:
    difference = entry.difference
    at = f" ({difference.source})" if difference.source and difference.source != where else ""
    rest = _names([member.start.submodule for member in common.members])
    match difference.kind, difference.one, difference.other:
        case "passed on", str(), None:
            text = f"{_each(entry, 'is computed in')} and passed to {rest} as an input"
        case "passed on", None, str(code):
            text = f"`{code}` is computed in {rest} and passed to {_names(list(entry.values))} as an input"
        case "operation", str(), None:
            text = f"{_each(entry, 'is in')} but not in {rest}"
        case "operation", None, str(code):
            text = f"`{code}` is in {rest} but not in {_names(list(entry.values))}"
        case "constant", _, str(instead):
            values = [(_first(common), instead), *entry.values.items()]
            named = ", ".join(f"{value} in {name}" for name, value in values[:6])
            more = f" and {len(values) - 6} more values" if len(values) > 6 else ""
            text = f"a constant that differs is baked into the graph: {named}{more}"
        case "input", str(), None:
            text = f"an additional input: {_each(entry)}"
        case "input", None, str(code):
            text = f"an additional input: `{code}` in {rest}"
        case kind, _, str(instead):
            text = f"{kind}: {_each(entry)}, but `{instead}` in {rest}"
        case kind, _, _:
            text = f"{kind}: {_each(entry)}"
    return text + at


def _each(entry: _Merged, relation: str = "in") -> str:
    """Return what each group has at this place; groups that have the same are listed together."""
    names: dict[str | None, list[str]] = {}
    for name, text in entry.values.items():
        names.setdefault(text, []).append(name)
    shown = [f"`{text}` {relation} {_names(those)}" for text, those in names.items()]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} others" if len(shown) > 3 else "")


def _advice(merged: list[_Merged], source: Source | None) -> str | None:
    kinds = {entry.difference.kind for entry in merged}
    if any(_LAUNCH_NUMBER.match(entry.difference.other or "") for entry in merged):
        return (
            "the graph contains the kernel's number in PyTorch's table of Triton kernels, a different one for each "
            "launch (torch/_higher_order_ops/triton_kernel_wrap.py): launch the kernel within a custom op "
            "(torch.library.custom_op), of which the graph contains only the name"
        )
    at = f" ({source})" if source else ""
    if "constant" in kinds:
        return (
            f"pass the value to the graph as an input (a buffer or a tensor argument), or compute it outside{at}; "
            "a constant that differs from layer to layer gives every layer its own graph"
        )
    if "passed on" in kinds:
        return (
            f"have every layer compute the value, or compute it before the first layer{at}: Dynamo computes a "
            "symbolic value once, where it first occurs, and passes it to the later subgraphs"
        )
    if kinds & {"operation", "wiring"}:
        return f"look for what depends on the layer's index or on state that the first layer sets{at}"
    if kinds & {"input", "type"}:
        return "give all layers weights and inputs of the same type, strides and device"
    return None


def _seconds_saved(group: list[SubgraphClass]) -> float:
    """Return the seconds that sharing would save: all but those of the most expensive group."""
    most_expensive = max(group, key=lambda one: one.seconds)
    shared = min((member.seconds for one in group for member in one.members[1:]), default=0.0)
    return sum(max(0.0, one.seconds - shared) for one in group if one is not most_expensive)


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"


def _first(one: SubgraphClass) -> str:
    return one.members[0].start.submodule
