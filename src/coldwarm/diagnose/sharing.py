"""Why there are as many unique subgraphs as there are: classes that should be one, and what keeps them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import trace_name
from coldwarm.graphs.differences import Difference, differences
from coldwarm.graphs.graph import Source
from coldwarm.graphs.names import names_of, part_of
from coldwarm.graphs.subgraphs import CompiledModel, SubgraphClass

_MOST_DETAILS = 12


class ClassReport(BaseModel):
    """A class of subgraphs, as it is told."""

    name: str
    submodules: list[str]
    seconds: float
    """What compiling the first of them took."""
    key: str | None
    """The compiler's cache key."""


def class_reports(model: CompiledModel) -> list[ClassReport]:
    """All classes of `model`, in the order in which they were compiled."""
    return [
        ClassReport(
            name=name,
            submodules=[member.start.submodule for member in one.members],
            seconds=one.seconds,
            key=one.key,
        )
        for name, one in zip(names_of(model), model.classes, strict=True)
    ]


def sharing_findings(model: CompiledModel) -> list[Finding]:
    """A finding for each part of the model that was compiled as more than one class."""
    groups: dict[object, list[SubgraphClass]] = {}
    for one in model.classes:
        groups.setdefault(part_of(one), []).append(one)
    names = dict(zip(map(id, model.classes), names_of(model), strict=True))
    return [_finding(group, names[id(group[0])]) for group in groups.values() if len(group) > 1]


@dataclass
class _Merged:
    """A difference from the common class, and the classes that have it."""

    difference: Difference
    values: dict[str, str | None]


def _finding(group: list[SubgraphClass], name: str) -> Finding:
    common = _common(group)
    others = [one for one in group if one is not common]
    merged: dict[tuple[str, ...], _Merged] = {}
    unlike: list[str] = []
    again: list[str] = []
    for one in sorted(others, key=lambda one: one.members[0].start.index):
        found = _compare(one, common)
        if one.key and one.key == common.key:
            again.append(_first(one))
        elif not found and one.key and common.key:
            unlike.append(_first(one))
        for difference in found:
            entry = merged.setdefault(difference.site, _Merged(difference, {}))
            entry.values[_first(one)] = difference.one
    source = next((entry.difference.source for entry in merged.values() if entry.difference.source), None)
    details = [_told(entry, common, source) for entry in merged.values()][:_MOST_DETAILS]
    if len(merged) > _MOST_DETAILS:
        details.append(f"and {len(merged) - _MOST_DETAILS} more differences")
    hidden = _beside_the_graph([one for one in others if _first(one) in unlike], common)
    details += [text for text, _ in hidden]
    unlike = [name for name in unlike if not any(name in names for _, names in hidden)]
    if unlike:
        details.append(
            f"{', '.join(unlike)}: the graph is that of {_first(common)}; the compiler's keys differ by something that "
            "is not in the graph (its inputs' strides, or the compiler's config)"
        )
    if again:
        details.append(
            f"{', '.join(again)}: the compiler's key is that of {_first(common)}, but the subgraph was compiled again: "
            "the compiler's cache did not have the result"
        )
    bypassed = sorted({one.bypass for one in group if one.bypass})
    details += [f"the compiler made no key: {reason}" for reason in bypassed]
    subgraphs = sum(len(one.members) for one in group)
    return Finding(
        kind=FindingKind.NOT_SHARED,
        start=StartKind.COLD,
        what=f"{subgraphs} subgraphs of the same part of the model ({name}) were compiled as {len(group)}: "
        + (details[0] if details else "nothing that was traced tells them apart"),
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


def _common(group: list[SubgraphClass]) -> SubgraphClass:
    """The class to compare the others with: the largest; of several, one whose graph the most subgraphs have."""
    most = Counter[str]()
    for one in group:
        most[one.graph.digest()] += len(one.members)
    return max(group, key=lambda one: (len(one.members), most[one.graph.digest()]))


def _beside_the_graph(unlike: list[SubgraphClass], common: SubgraphClass) -> list[tuple[str, list[str]]]:
    """Describe why classes with the graph of `common` have other keys: each cause, and the classes that have it."""
    found = []
    for number in sorted({number for one in [*unlike, common] for number in one.offsets}):
        values = {_first(one): one.offsets.get(number, 0) for one in [common, *unlike]}
        if len(set(values.values())) > 1 and number < len(common.inputs):
            found.append(
                (
                    f"the storage offset of an input (`{common.inputs[number].name}` in {_first(common)}) is part of "
                    f"the compiler's key, and differs: {_by_class(values)}",
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
                    f"the name of a symbolic input is part of the compiler's key, and differs: {_by_class(names)}; "
                    "PyTorch normalizes the names of tensor inputs only (torch/_functorch/_aot_autograd/"
                    "autograd_cache.py, normalize_placeholder_names)",
                    [name for name in names if names[name] != names[_first(common)]],
                )
            )
    return found


def _by_class(values: Mapping[str, object]) -> str:
    shown = [f"{value} in {name}" for name, value in values.items()]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def _extra_artifacts(entry: _Merged | None) -> int:
    """How many classes more a difference makes of one: as many as there are other values than the common class has."""
    return len({*entry.values.values()} - {entry.difference.other}) if entry else 0


def _compare(one: SubgraphClass, common: SubgraphClass) -> list[Difference]:
    found = differences(one.graph, common.graph)
    if not found and one.lowered_code and common.lowered_code:
        # The same graph of inputs that are laid out otherwise: after AOTAutograd types tell strides and devices.
        found = [each for each in differences(one.lowered, common.lowered) if each.kind in ("input", "type")]
    return found


def _told(entry: _Merged, common: SubgraphClass, where: Source | None) -> str:
    difference = entry.difference
    at = f" ({difference.source})" if difference.source and difference.source != where else ""
    rest = _names([member.start.submodule for member in common.members])
    match difference.kind, difference.one, difference.other:
        case "passed on", str(), None:
            told = f"{_each(entry, 'is computed in')} and handed on to {rest} as an input"
        case "passed on", None, str(text):
            told = f"`{text}` is computed in {rest} and handed on to {_names(list(entry.values))} as an input"
        case "operation", str(), None:
            told = f"{_each(entry)}, and not in {rest}"
        case "operation", None, str(text):
            told = f"`{text}` in {rest}, and not in {_names(list(entry.values))}"
        case "constant", _, str(instead):
            values = [(_first(common), instead), *entry.values.items()]
            named = ", ".join(f"{value} in {name}" for name, value in values[:6])
            more = f" and {len(values) - 6} more values" if len(values) > 6 else ""
            told = f"a constant is burned into the graph: {named}{more}"
        case "input", str(), None:
            told = f"one more input: {_each(entry)}"
        case "input", None, str(text):
            told = f"one more input: `{text}` in {rest}"
        case kind, _, str(instead):
            told = f"{kind}: {_each(entry)}, in its place `{instead}` in {rest}"
        case kind, _, _:
            told = f"{kind}: {_each(entry)}"
    return told + at


def _each(entry: _Merged, stands: str = "in") -> str:
    """What each class has at this place; classes that have the same are told together."""
    names: dict[str | None, list[str]] = {}
    for name, text in entry.values.items():
        names.setdefault(text, []).append(name)
    told = [f"`{text}` {stands} {_names(those)}" for text, those in names.items()]
    return ", ".join(told[:3]) + (f" and {len(told) - 3} others" if len(told) > 3 else "")


def _advice(merged: list[_Merged], source: Source | None) -> str | None:
    kinds = {entry.difference.kind for entry in merged}
    if any("triton_kernel_wrapper" in part for entry in merged for part in entry.difference.site):
        return (
            "the graph holds the kernel's number in torch's table of Triton kernels, another one for each launch "
            "(torch/_higher_order_ops/triton_kernel_wrap.py): launch the kernel within a custom op "
            "(torch.library.custom_op), of which the graph holds the name alone"
        )
    at = f" ({source})" if source else ""
    if "constant" in kinds:
        return (
            f"hand the value to the graph as an input (a buffer or a tensor argument), or compute it outside{at}; "
            "a constant that differs from layer to layer makes every layer a graph of its own"
        )
    if "passed on" in kinds:
        return (
            f"have every layer compute the value, or compute it before the first layer{at}: Dynamo computes a "
            "symbolic value once, where it is first met, and hands it to the later subgraphs"
        )
    if kinds & {"operation", "wiring"}:
        return f"look for what depends on the layer's index or on state that the first layer sets{at}"
    if kinds & {"input", "type"}:
        return "give all layers weights and inputs of the same type, strides and device"
    return None


def _seconds_saved(group: list[SubgraphClass]) -> float:
    """What sharing would save: all but the dearest, which must be compiled in any case, and has the common kernels."""
    dearest = max(group, key=lambda one: one.seconds)
    shared = min((member.seconds for one in group for member in one.members[1:]), default=0.0)
    return sum(max(0.0, one.seconds - shared) for one in group if one is not dearest)


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"


def _first(one: SubgraphClass) -> str:
    return one.members[0].start.submodule
