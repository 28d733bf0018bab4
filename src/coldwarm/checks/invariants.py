"""The six invariants: what is true of every healthy cold and warm start, of known and new models alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from coldwarm.checks.outputs import difference
from coldwarm.checks.run_context import warm_changes
from coldwarm.checks.sharing_limit import ModelArtifacts, allowed_artifacts, artifacts_by_model
from coldwarm.core.checks import Check, InvariantId
from coldwarm.core.depth import Depth
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.record import EngineFacts, Message, StartKind, StartRecord
from coldwarm.core.stats import CompileStats
from coldwarm.engines.base import load_statistics


class Starts:
    """The finished starts of a run, and the entry that they are judged by.

    Args:
        cold: The cold start.
        warm: The warm start; None at the depth that has none.
        entry: The model's entry.
    """

    def __init__(
        self, cold: StartRecord, warm: StartRecord | None, entry: ModelEntry, *, rank: int | None = None
    ) -> None:
        self.cold, self.entry = cold, entry
        self._records = cold, warm
        for record in (cold, warm):
            assert record is None or record.facts is not None, "only finished starts are judged"
        self.cold_stats = _stats(cold, rank)
        if warm is not None:
            self.warm_stats = _stats(warm, rank)
        if rank is not None:
            cold, warm = _of_rank(cold, rank), None if warm is None else _of_rank(warm, rank)
            self.cold = cold
        self.cold_facts = _facts(cold)
        self.warm_changes = warm_changes(cold, warm)
        """Settings that the warm start has and the cold one has not, as ``without NAME=VALUE``."""
        self.counters = {StartKind.COLD: self.cold_facts.counters}
        """Of each start: what was counted, by flat name."""
        if cold.depth is Depth.TRACE:
            self.counters = {StartKind.COLD: load_statistics(cold.engine).counters_of_trace(cold)}
        elif warm is not None:
            self.warm, self.warm_facts = warm, _facts(warm)
            self.counters[StartKind.WARM] = self.warm_facts.counters

    def ranks(self) -> dict[StartKind, list[int]]:
        """The ranks of each start, in order."""
        return {
            record.kind: [rank for process in _facts(record).processes if (rank := process.rank) is not None] or [0]
            for record in self._records
            if record is not None
        }

    def of_rank(self, rank: int) -> Starts:
        """The same starts with what one rank counted; a rank that a start does not have counted nothing."""
        return Starts(*self._records, self.entry, rank=rank)

    def layer_kinds(self) -> tuple[int, str]:
        """How many kinds of layers the model has, and who says so."""
        if self.entry.layer_kinds is not None:
            return len(self.entry.layer_kinds), "catalog: " + ", ".join(self.entry.layer_kinds)
        kinds = self.cold_facts.layer_kinds
        told = ", ".join(f"{kind.layers} {kind.layer_class}" for kind in kinds)
        return len(kinds), f"derived from the classes and parameter shapes of its layers: {told or 'none found'}"


def _facts(record: StartRecord) -> EngineFacts:
    assert record.facts is not None, "only finished starts are judged"
    return record.facts


def _stats(record: StartRecord, rank: int | None) -> CompileStats:
    """The statistics of a rank; of the first one for None, and none of anything for a rank that the start lacks."""
    found = load_statistics(record.engine).compile_stats(record)
    first = next(iter(found.values()))
    if rank is None or rank in found:
        return first if rank is None else found[rank]
    nothing = {"subgraphs": 0, "unique": None, "saved": 0, "loaded": 0, "misses": 0, "code_generations": None}
    return first.model_copy(update={"rank": rank, **nothing})


def _of_rank(record: StartRecord, rank: int) -> StartRecord:
    """A record with the counters, layers, messages and graphs of one of several ranks as those of the whole start."""
    work = record.compiler_work
    if work is not None:
        work = work.model_copy(update={"graphs": [graph for graph in work.graphs if graph.rank == rank]})
    seen = [process for process in record.processes if process.rank == rank]
    return record.model_copy(update={"processes": seen, "compiler_work": work})


def check_invariants(starts: Starts) -> list[Check]:
    """Check those that the depth of the starts can tell of, for each rank: all six, in their order, at depth full."""
    checks = _INVARIANTS[starts.cold.depth]
    ranks = starts.ranks()
    if ranks[StartKind.COLD] == [0] and ranks.get(StartKind.WARM, [0]) == [0]:
        return [check(starts) for check in checks]
    everywhere = sorted({rank for of_start in ranks.values() for rank in of_start})
    by_rank = {rank: starts.of_rank(rank) for rank in everywhere}
    found = []
    for check in checks:
        if check is _same_output:  # the ranks generate together
            found.append(check(starts))
            continue
        having = ranks[StartKind.COLD] if check in _OF_COLD else everywhere
        found.append(_of_ranks({rank: check(by_rank[rank]) for rank in having}))
    return found


def _of_ranks(checks: Mapping[int, Check]) -> Check:
    """One check of what was checked for each rank: it passes only if it passes for all of them."""
    failed = {rank: check for rank, check in checks.items() if not check.holds}
    shown = failed or checks
    same: dict[str, list[int]] = {}
    for rank, check in shown.items():
        same.setdefault(check.words, []).append(rank)
    return Check(
        id=next(iter(checks.values())).id,
        holds=not failed,
        words="; ".join(f"{_ranks(ranks)}: {words}" for words, ranks in same.items()),
        evidence=list(dict.fromkeys(line for check in shown.values() for line in check.evidence)),
        is_checked=all(check.is_checked for check in checks.values()) or bool(failed),
        artifacts_over_limit=max(check.artifacts_over_limit for check in checks.values()),
    )


def _ranks(numbers: Sequence[int]) -> str:
    listed = ", ".join(str(number) for number in numbers)
    return f"rank {listed}" if len(numbers) == 1 else f"ranks {listed}"


def _something_unique(starts: Starts) -> Check:
    unique, subgraphs = starts.cold_stats.unique or 0, starts.cold_stats.subgraphs
    words = f"cold, something is to be compiled: {_plural(subgraphs, 'subgraph')}, {unique} of them unique (at least 1)"
    return Check(
        id=InvariantId.COMPILES,
        holds=unique >= 1 and starts.cold.caches_as_left,
        words=words if starts.cold.caches_as_left else words + "; the caches were not empty at the start",
    )


def _cold_compiles(starts: Starts) -> Check:
    saved, loaded = starts.cold_stats.saved, starts.cold_stats.loaded
    words = f"cold, something is compiled: {_artifacts(saved)} saved (at least 1), {loaded} loaded (0)"
    if saved < 1:
        words = (
            f"cold, nothing was compiled that coldwarm could see saved: {saved} artifacts saved (at least 1); "
            "such a start proves nothing"
        )
    return Check(
        id=InvariantId.COMPILES,
        holds=saved >= 1 and loaded == 0 and starts.cold.caches_as_left,
        words=words if starts.cold.caches_as_left else words + "; the caches were not empty at the start",
    )


def _only_unique(starts: Starts) -> Check:
    graphs = starts.cold.compiler_work.graphs if starts.cold.compiler_work else []
    models = artifacts_by_model(graphs, starts.cold_facts)
    if len(models) > 1 or not all(model.is_main for model in models):
        return _only_unique_of_each(starts, models)
    check = _only_unique_of_main(starts)
    if not models and not check.holds and starts.cold_facts.further_models:
        names = ", ".join(model.name for model in starts.cold_facts.further_models)
        return Check(
            id=InvariantId.ONLY_UNIQUE,
            holds=True,
            words="cold, only the unique is compiled: not checked, since the trace does not tell which compiled model "
            f"each of {_artifacts(_compiled(starts))} is of (compiled beside the main "
            f"model: {names})",
            is_checked=False,
        )
    if models and (left := _not_traced(starts, models)):
        check.words += f"; {left}"
        check.is_checked = not check.holds
    return check


def _only_unique_of_each(starts: Starts, models: Sequence[ModelArtifacts]) -> Check:
    """Give each compiled model a limit of its own, so that none may use up what another leaves of its."""
    saved = _compiled(starts)
    limits = [_limit(starts, model) for model in models]
    compiled = sum(model.artifacts for model in models)
    over = sum(
        max(0, model.artifacts - limit) for model, (limit, _) in zip(models, limits, strict=True) if limit is not None
    )
    # If fewer were saved than the trace tells of, some were the same to the byte, and nobody knows in which model.
    over = max(0, over - max(0, compiled - saved))
    known = [limit for limit, _ in limits if limit is not None]
    if len(known) == len(models):
        over = max(over, saved - sum(known))
    told = f"{saved} unique" if starts.cold.depth is Depth.TRACE else f"{_artifacts(saved)} saved"
    parts = [
        told,
        *(f"{model.name}: {model.artifacts}, {words}" for model, (_, words) in zip(models, limits, strict=True)),
    ]
    left = _not_traced(starts, models)
    return Check(
        id=InvariantId.ONLY_UNIQUE,
        holds=not over,
        words="cold, only the unique is compiled: " + "; ".join(parts + ([left] if left else [])),
        is_checked=over > 0 or (len(known) == len(models) and not left),
        artifacts_over_limit=over,
    )


def _limit(starts: Starts, model: ModelArtifacts) -> tuple[int | None, str]:
    """How many artifacts one of several compiled models may have, None if that is not known; and what the limit is."""
    named = starts.entry.layer_kinds if model.is_main else None
    if named is not None:
        limit = (len(named) + 2) * model.ranges
        for_ranges = f", for each of {model.ranges} compile ranges" if model.ranges > 1 else ""
        return limit, f"at most {limit} ({_kinds(len(named))} + 2{for_ranges}; catalog: {', '.join(named)})"
    if model.allowed is not None:
        return model.allowed, (
            f"at most {model.allowed}, one for each part of the model and each configuration of its layers"
        )
    if model.runs_layers_again:
        return None, "not checked, since it runs its layers several times in one forward pass"
    return None, "not checked, since no layers of it were found in what the engine compiles"


def _not_traced(starts: Starts, models: Sequence[ModelArtifacts]) -> str:
    """Say which compiled models a trace leaves out: it ends with the first model; empty where there are none."""
    known = [starts.cold_facts.main_model, *(model.name for model in starts.cold_facts.further_models)]
    left = [name for name in known if name and name not in {model.name for model in models}]
    if starts.cold.depth is not Depth.TRACE or not left:
        return ""
    return f"{', '.join(left)}: not checked, since a start of depth trace ends with the first compiled model"


def _only_unique_of_main(starts: Starts) -> Check:
    kinds, source = starts.layer_kinds()
    saved = _compiled(starts)
    work = starts.cold.compiler_work
    ranges = starts.cold_stats.compile_ranges
    limit = (kinds + 2) * ranges
    known = kinds > 0
    words = "cold, only the unique is compiled: "
    allowed = allowed_artifacts(work.graphs, starts.cold_facts.layer_configurations) if work else None
    if starts.entry.layer_kinds is None and allowed is not None:
        limit, known = allowed, True
        told = f"{saved} unique" if starts.cold.depth is Depth.TRACE else f"{_artifacts(saved)} saved"
        words += f"{told}, at most {limit}, one for each part of the model and each configuration of its layers"
    elif starts.entry.layer_kinds is None and work and work.graphs and known:
        known = False
        words += (
            "not checked, since the model runs its layers several times in one forward pass, so that their subgraphs "
            f"may differ ({_artifacts(saved)} saved)"
        )
    elif known:
        told = f"{saved} unique" if starts.cold.depth is Depth.TRACE else f"{_artifacts(saved)} saved"
        for_ranges = f", for each of {ranges} compile ranges" if ranges > 1 else ""
        words += f"{told}, at most {limit} ({_kinds(kinds)} + 2{for_ranges}; {source})"
    else:
        words += f"not checked, since no layers were found in what the engine compiles ({_artifacts(saved)} saved)"
    over = max(0, saved - limit) if known else 0
    return Check(id=InvariantId.ONLY_UNIQUE, holds=not over, words=words, is_checked=known, artifacts_over_limit=over)


def _saves_nothing(starts: Starts) -> Check:
    saved = starts.warm_stats.saved
    return Check(
        id=InvariantId.SAVES_NOTHING,
        holds=saved == 0,
        words=f"warm, nothing is saved: {_artifacts(saved)} saved (0)",
    )


def _loads_all(starts: Starts) -> Check:
    saved, loaded = starts.cold_stats.saved, starts.warm_stats.loaded
    words = f"warm, what the cold start saved is loaded: {loaded} loaded of {saved} saved"
    if not starts.warm.caches_as_left:
        words += "; the caches were not those that the cold start left"
    messages = _load_failures(starts.warm.messages)
    return Check(
        id=InvariantId.LOADS_ALL,
        holds=saved > 0 and loaded == saved and starts.warm.caches_as_left and not messages,
        words=words + ("; the engine could not load what it had saved" if messages else ""),
        evidence=[f"{message.logger} {message.level}: {message.text}" for message in messages],
    )


def _no_compiler(starts: Starts) -> Check:
    misses, generations = starts.warm_stats.misses, starts.warm_stats.code_generations
    if generations is None:
        return Check(
            id=InvariantId.NO_COMPILER,
            holds=False,
            words=f"warm, the compiler does not run: {_misses(misses)} (0); "
            "no trace was written, so that code generation cannot be ruled out",
        )
    lines = starts.warm_stats.unreadable_lines
    unread = f"; {_plural(lines, 'line')} of it could not be read" if lines else ""
    return Check(
        id=InvariantId.NO_COMPILER,
        holds=misses == 0 and generations == 0 and not unread,
        words=f"warm, the compiler does not run: {_misses(misses)} (0), "
        f"{_plural(generations, 'code generation')} in the trace (0){unread}",
    )


def _same_output(starts: Starts) -> Check:
    problem = difference(starts.cold_facts, starts.warm_facts)
    tokens = len(starts.cold_facts.generated)
    return Check(
        id=InvariantId.SAME_OUTPUT,
        holds=problem is None,
        words=f"warm, the model computes what it computed cold: "
        f"{problem or f'{tokens} tokens and their log-probabilities agree'}",
    )


_OF_ARTIFACTS: tuple[Callable[[Starts], Check], ...] = (
    _cold_compiles,
    _only_unique,
    _saves_nothing,
    _loads_all,
    _no_compiler,
)
_OF_COLD = (_something_unique, _cold_compiles, _only_unique)
_INVARIANTS: dict[Depth, tuple[Callable[[Starts], Check], ...]] = {
    Depth.TRACE: (_something_unique, _only_unique),
    Depth.COUNT: _OF_ARTIFACTS,
    Depth.FULL: (*_OF_ARTIFACTS, _same_output),
}


def _load_failures(messages: list[Message]) -> list[Message]:
    # vllm/compilation/decorators.py, `_try_load_aot_compiled_fn`.
    return [message for message in messages if "load failure" in message.text]


def _compiled(starts: Starts) -> int:
    """How many artifacts the cold start saved; at depth trace, how many it would have: one for each unique subgraph."""
    stats = starts.cold_stats
    return (stats.unique or 0) if starts.cold.depth is Depth.TRACE else stats.saved


def _artifacts(n: int) -> str:
    return _plural(n, "artifact")


def _kinds(n: int) -> str:
    return _plural(n, "kind") + " of layers"


def _misses(n: int) -> str:
    return f"{n} AOTAutograd cache {'miss' if n == 1 else 'misses'}"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
