"""The invariants, which hold for every healthy cold and warm start of any model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from coldwarm.checks import kernels
from coldwarm.checks.kernels import KernelPart
from coldwarm.checks.late_functions import unexpected
from coldwarm.checks.outputs import difference
from coldwarm.checks.ranks import combine, only_rank
from coldwarm.checks.run_context import warm_changes
from coldwarm.checks.sharing_limit import ModelArtifacts, allowed_artifacts, artifacts_by_model
from coldwarm.core.checks import Check
from coldwarm.core.engine import TORCH
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.phases import GENERATE
from coldwarm.core.record import EngineFacts, StartKind, StartRecord
from coldwarm.core.stats import CompileStats, KernelWork
from coldwarm.engines.base import load_vocabulary

NOT_COMPILED = "the engine does not use torch.compile for this model"
"""How messages say that a model is compiled only by other compilers."""

_ONE_FOR_EACH = "one for each part of the model and each configuration of its layers"


class Starts:
    """The finished starts of a run, and the catalog entry of their model.

    Args:
        cold: The cold start.
        warm: The warm start; None at a depth without one.
        entry: The model's entry.
        rank: Use only what this rank recorded; None: use the records as they are.
        stats: The statistics of all ranks of each start, if they are known already.
    """

    def __init__(
        self,
        cold: StartRecord,
        warm: StartRecord | None,
        entry: ModelEntry,
        *,
        rank: int | None = None,
        stats: Mapping[StartKind, Mapping[int, CompileStats]] | None = None,
    ) -> None:
        self.cold, self.entry = cold, entry
        self._records = cold, warm
        for record in (cold, warm):
            assert record is None or record.facts is not None, "only finished starts are judged"
        self._stats = stats or {
            record.kind: load_vocabulary(record.engine).compile_stats(record)
            for record in self._records
            if record is not None
        }
        self.cold_stats = _stats_of_rank(self._stats[StartKind.COLD], rank)
        if warm is not None:
            self.warm_stats = _stats_of_rank(self._stats[StartKind.WARM], rank)
        if rank is not None:
            cold, warm = only_rank(cold, rank), None if warm is None else only_rank(warm, rank)
            self.cold = cold
        self.cold_facts = _facts(cold)
        self.warm_changes = warm_changes(cold, warm)
        """Settings that only the warm start has, each as ``without NAME=VALUE``."""
        self.counters = {StartKind.COLD: self.cold_facts.counters}
        """The counters of each start, by flat name."""
        if not cold.depth.level.has_artifacts:
            self.counters = {StartKind.COLD: load_vocabulary(cold.engine).counters_of_trace(cold)}
        elif warm is not None:
            self.warm, self.warm_facts = warm, _facts(warm)
            self.counters[StartKind.WARM] = self.warm_facts.counters

    def ranks(self) -> dict[StartKind, list[int]]:
        """Return the ranks of each start, in order."""
        return {
            record.kind: [rank for process in _facts(record).processes if (rank := process.rank) is not None] or [0]
            for record in self._records
            if record is not None
        }

    def has_kernels(self) -> bool:
        """Return whether kernel compilers were observed in any process of either start."""
        records = [record for record in self._records if record is not None]
        return any(
            record.kernels_by_files or any(process.kernels is not None for process in record.processes)
            for record in records
        )

    @property
    def why_not_compiled(self) -> str | None:
        """Why the engine compiled no part of the model with torch.compile; None: it did, or that is not known."""
        return self.cold_stats.torch_compile

    def of_rank(self, rank: int) -> Starts:
        """Return the same starts with the counters of one rank; all are zero if a start does not have that rank."""
        return Starts(*self._records, self.entry, rank=rank, stats=self._stats)

    def layer_kinds(self) -> tuple[int, str]:
        """Return the number of layer kinds of the model, and where it comes from."""
        if self.entry.layer_kinds is not None:
            return len(self.entry.layer_kinds), "catalog: " + ", ".join(self.entry.layer_kinds)
        kinds = self.cold_facts.layer_kinds
        listed = ", ".join(f"{kind.layers} {kind.layer_class}" for kind in kinds)
        return len(kinds), f"derived from the classes and parameter shapes of its layers: {listed or 'none found'}"


def _facts(record: StartRecord) -> EngineFacts:
    assert record.facts is not None, "only finished starts are judged"
    return record.facts


def _stats_of_rank(found: Mapping[int, CompileStats], rank: int | None) -> CompileStats:
    """Return the statistics of a rank (None: of the first one); all are zero if the start does not have that rank."""
    first = next(iter(found.values()))
    if rank is None or rank in found:
        return first if rank is None else found[rank]
    nothing = {
        "subgraphs": 0,
        "unique": None,
        "saved": 0,
        "loaded": 0,
        "misses": 0,
        "code_generations": None,
        "kernels": None,
    }
    return first.model_copy(update={"rank": rank, **nothing})


def check_invariants(starts: Starts) -> list[Check]:
    """Check the invariants that apply at the depth of the starts, for each rank; at depth full, all in order.

    `InvariantId.READY_NO_COMPILER` applies only if kernel compilers were observed. Some do not apply to some commands.
    """
    invariants = applicable_invariants(starts)
    ranks = starts.ranks()
    if ranks[StartKind.COLD] == [0] and ranks.get(StartKind.WARM, [0]) == [0]:
        return [_INVARIANTS[invariant](starts) for invariant in invariants]
    everywhere = sorted({rank for of_start in ranks.values() for rank in of_start})
    by_rank = {rank: starts.of_rank(rank) for rank in everywhere}
    found = []
    for invariant in invariants:
        check = _INVARIANTS[invariant]
        if invariant is InvariantId.SAME_OUTPUT:  # the ranks generate together
            found.append(check(starts))
            continue
        having = ranks[StartKind.COLD] if invariant in _OF_COLD else everywhere
        found.append(combine({rank: check(by_rank[rank]) for rank in having}))
    return found


def applicable_invariants(starts: Starts) -> list[InvariantId]:
    """Return the invariants that apply to the starts, at their depth, with their engine and with what was observed."""
    without = set(load_vocabulary(starts.cold.engine).without)
    # A command that ends by itself is never ready for requests.
    never_ready = bool(starts.cold.command) and not any(step.name == GENERATE for step in starts.cold.steps)
    if never_ready and starts.cold.engine == TORCH:
        # Nothing says what a script computes.
        without.add(InvariantId.SAME_OUTPUT)
    if never_ready or not starts.has_kernels():
        without.add(InvariantId.READY_NO_COMPILER)
    return [invariant for invariant in starts.cold.depth.level.checked if invariant not in without]


def _with_kernels(check: Check, part: KernelPart) -> Check:
    """Return a check that also requires `part` to hold."""
    return check.model_copy(
        update={
            "holds": check.holds and part.holds,
            "words": f"{check.words}; {part.words}",
            "is_checked": (check.is_checked and part.is_checked) or not (check.holds and part.holds),
            "kernels": dict(part.broken_by),
            "only_kernels": check.holds and not part.holds,
        }
    )


def _compiles(starts: Starts) -> Check:
    if starts.why_not_compiled is not None and starts.cold_stats.kernels is not None:
        return _kernels_compiled(starts, starts.cold_stats.kernels)
    check = _cold_compiles(starts) if starts.cold.depth.level.has_artifacts else _something_unique(starts)
    if starts.why_not_compiled is not None:
        check.words += f"; {NOT_COMPILED} ({starts.why_not_compiled})"
    return check


def _something_unique(starts: Starts) -> Check:
    unique, subgraphs = starts.cold_stats.unique or 0, starts.cold_stats.subgraphs
    message = f"cold start found {_plural(subgraphs, 'subgraph')}, {unique} of them unique (expected at least 1)"
    return Check(
        id=InvariantId.COMPILES,
        holds=unique >= 1 and starts.cold.caches_as_left,
        words=message if starts.cold.caches_as_left else message + "; its caches were not empty when it began",
    )


def _cold_compiles(starts: Starts) -> Check:
    saved, loaded = starts.cold_stats.saved, starts.cold_stats.loaded
    own = _loads_of_its_own(starts)
    at_most = f"at most {own}, which it saved itself" if own else "0"
    message = f"cold start saved {_artifacts(saved)} (expected at least 1) and loaded {loaded} (expected {at_most})"
    if saved < 1:
        message = (
            f"cold start saved {_artifacts(saved)} that coldwarm could see (expected at least 1), "
            "so caching cannot be verified"
        )
    return Check(
        id=InvariantId.COMPILES,
        holds=saved >= 1 and loaded <= own and starts.cold.caches_as_left,
        words=message if starts.cold.caches_as_left else message + "; its caches were not empty when it began",
    )


def _loads_of_its_own(starts: Starts) -> int:
    """Return how many artifacts the cold start may load although its caches were empty.

    If the engine compiles modules of one class one by one, such as the blocks of an encoder, the first saves what the
    others load.
    """
    graphs = starts.cold.compiler_work.graphs if starts.cold.compiler_work else []
    modules = {model.name: model.modules for model in starts.cold_facts.further_models}
    models = artifacts_by_model(graphs, starts.cold_facts)
    return sum((modules.get(model.name, 1) - 1) * model.artifacts for model in models)


def _kernels_compiled(starts: Starts, work: KernelWork) -> Check:
    """Check that other compilers compiled something, if the engine does not use torch.compile."""
    parts = [f"{NOT_COMPILED} ({starts.why_not_compiled})"]
    if starts.cold.depth.level.has_kernels or work.compiled:
        parts.append(
            f"other compilers compiled {_plural(work.compiled, 'kernel')} in the cold start (expected at least 1)"
        )
    else:
        parts.append(
            f"what other compilers do was not checked at depth {starts.cold.depth}"
            + (f": {_plural(work.listed, 'key')} listed, nothing compiled" if work.listed else "")
        )
    if not starts.cold.caches_as_left:
        parts.append("its caches were not empty when it began")
    return Check(
        id=InvariantId.COMPILES,
        holds=(work.compiled >= 1 or not starts.cold.depth.level.has_kernels) and starts.cold.caches_as_left,
        words="; ".join(parts),
        is_checked=work.compiled >= 1 or starts.cold.depth.level.has_kernels or not starts.cold.caches_as_left,
    )


def _only_unique(starts: Starts) -> Check:
    work = starts.cold_stats.kernels
    if starts.why_not_compiled is not None:
        check = Check(id=InvariantId.ONLY_UNIQUE, holds=True, words=NOT_COMPILED)
    else:
        check = _only_unique_subgraphs(starts)
    if work is None or not (starts.cold.depth.level.has_kernels or work.repeated):
        check.is_checked = check.is_checked and starts.why_not_compiled is None
        return check
    return _with_kernels(check, kernels.repeated_keys(work))


def _only_unique_subgraphs(starts: Starts) -> Check:
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
            words=f"the limit for the cold start's {_artifacts(_compiled(starts))} was not checked: the trace does not "
            f"show which model each belongs to (compiled in addition to the main model: {names})",
            is_checked=False,
        )
    if models and (left := _not_traced(starts, models)):
        check.words += f"; {left}"
        check.is_checked = not check.holds
    return check


def _only_unique_of_each(starts: Starts, models: Sequence[ModelArtifacts]) -> Check:
    """Check each compiled model against its own limit, so that none can use what another leaves of its limit."""
    saved = _compiled(starts)
    limits = [_limit(starts, model) for model in models]
    compiled = sum(model.artifacts for model in models)
    over = sum(
        max(0, model.artifacts - limit) for model, (limit, _) in zip(models, limits, strict=True) if limit is not None
    )
    # If fewer were saved than the trace shows, some were identical to the byte, and it is unknown in which model.
    over = max(0, over - max(0, compiled - saved))
    known = [limit for limit, _ in limits if limit is not None]
    if len(known) == len(models):
        over = max(over, saved - sum(known))
    parts = [
        _cold_start_compiled(starts),
        *(f"{model.name}: {model.artifacts}, {limit}" for model, (_, limit) in zip(models, limits, strict=True)),
    ]
    left = _not_traced(starts, models)
    return Check(
        id=InvariantId.ONLY_UNIQUE,
        holds=not over,
        words="; ".join(parts + ([left] if left else [])),
        is_checked=over > 0 or (len(known) == len(models) and not left),
        artifacts_over_limit=over,
    )


def _limit(starts: Starts, model: ModelArtifacts) -> tuple[int | None, str]:
    """Return how many artifacts one of several compiled models may have (None: unknown), and a description of it."""
    named = starts.entry.layer_kinds if model.is_main else None
    if named is not None:
        limit = (len(named) + 2) * model.ranges
        for_ranges = f", for each of {model.ranges} compile ranges" if model.ranges > 1 else ""
        return limit, f"expected at most {limit} ({_kinds(len(named))} + 2{for_ranges}; catalog: {', '.join(named)})"
    if model.allowed is not None:
        return model.allowed, f"expected at most {model.allowed} ({_ONE_FOR_EACH})"
    if model.reruns_layers:
        return None, "not checked, because it runs its layers several times in one forward pass"
    return None, "not checked, because none of its layers were found in what the engine compiles"


def _not_traced(starts: Starts, models: Sequence[ModelArtifacts]) -> str:
    """Describe which compiled models are missing at depth trace, which ends with the first; empty if none are."""
    known = [starts.cold_facts.main_model, *(model.name for model in starts.cold_facts.further_models)]
    left = [name for name in known if name and name not in {model.name for model in models}]
    if starts.cold.depth.level.has_artifacts or not left:
        return ""
    return f"{', '.join(left)}: not checked, because --depth trace ends with the first compiled model"


def _only_unique_of_main(starts: Starts) -> Check:
    kinds, source = starts.layer_kinds()
    saved = _compiled(starts)
    work = starts.cold.compiler_work
    ranges = starts.cold_stats.compile_ranges
    limit = (kinds + 2) * ranges
    known = kinds > 0
    message = _cold_start_compiled(starts)
    allowed = allowed_artifacts(work.graphs, starts.cold_facts.layer_configurations) if work else None
    if starts.entry.layer_kinds is None and allowed is not None:
        limit, known = allowed, True
        message += f" (expected at most {limit}: {_ONE_FOR_EACH})"
    elif starts.entry.layer_kinds is None and work and work.graphs and known:
        known = False
        message += (
            " (limit not checked, because the model runs its layers several times in one forward pass, so their "
            "subgraphs may differ)"
        )
    elif known:
        for_ranges = f", for each of {ranges} compile ranges" if ranges > 1 else ""
        message += f" (expected at most {limit}: {_kinds(kinds)} + 2{for_ranges}; {source})"
    else:
        message += " (limit not checked, because no layers were found in what the engine compiles)"
    over = max(0, saved - limit) if known else 0
    return Check(id=InvariantId.ONLY_UNIQUE, holds=not over, words=message, is_checked=known, artifacts_over_limit=over)


def _saves_nothing(starts: Starts) -> Check:
    if starts.why_not_compiled is not None:
        return _no_artifacts(starts, InvariantId.SAVES_NOTHING, "what the warm start saves")
    saved = starts.warm_stats.saved
    return Check(
        id=InvariantId.SAVES_NOTHING,
        holds=saved == 0,
        words=f"warm start saved {_artifacts(saved)} (expected 0)",
    )


def _no_artifacts(starts: Starts, invariant: InvariantId, what: str) -> Check:
    """Check an invariant about artifacts in a run whose cold start has none: it must not have any in the warm start."""
    saved, loaded = starts.warm_stats.saved, starts.warm_stats.loaded
    if saved or loaded:
        words = (
            f"warm start saved {_artifacts(saved)} and loaded {loaded}, but the cold start did not use torch.compile"
        )
        return Check(id=invariant, holds=False, words=words)
    as_left = starts.warm.caches_as_left or invariant is not InvariantId.LOADS_ALL
    words = f"{what}: not checked, because {NOT_COMPILED}"
    if not as_left:
        words = "the caches of the warm start were not those that the cold start left"
    return Check(id=invariant, holds=as_left, words=words, is_checked=not as_left)


def _loads_all(starts: Starts) -> Check:
    if starts.why_not_compiled is not None:
        return _no_artifacts(starts, InvariantId.LOADS_ALL, "what the warm start loads")
    saved, loaded = starts.cold_stats.saved, starts.warm_stats.loaded
    # Modules that share an artifact load it one by one, also those that loaded it in the cold start.
    again = min(starts.cold_stats.loaded, _loads_of_its_own(starts))
    message = f"warm start loaded {loaded} of {_artifacts(saved)} saved by the cold start"
    if again:
        message += f" (expected {saved + again}, because the cold start loaded {again})"
    if not starts.warm.caches_as_left:
        message += "; its caches were not those that the cold start left"
    messages = load_vocabulary(starts.warm.engine).load_messages(starts.warm.messages)
    return Check(
        id=InvariantId.LOADS_ALL,
        holds=saved > 0 and loaded == saved + again and starts.warm.caches_as_left and not messages,
        words=message + ("; the engine failed to load a saved artifact" if messages else ""),
        evidence=[f"{message.logger} {message.level}: {message.text}" for message in messages],
    )


def _no_compiler(starts: Starts) -> Check:
    check, work = _no_torch_compile(starts), starts.warm_stats.kernels
    if work is None:
        return check
    if not (starts.cold.depth.level.has_kernels or work.compiled):
        check.words += f"; kernels of other compilers were not checked at depth {starts.cold.depth}"
        return check
    return _with_kernels(check, kernels.recompiled(starts.cold_stats.kernels, work))


def _no_torch_compile(starts: Starts) -> Check:
    misses, generations = starts.warm_stats.misses, starts.warm_stats.code_generations
    if generations is None and starts.warm_stats.torch_compile is not None and starts.warm_stats.kernels is not None:
        # PyTorch creates the trace with its first record.
        generations = 0
    if generations is None:
        return Check(
            id=InvariantId.NO_COMPILER,
            holds=False,
            words=f"warm start had {_misses(misses)} (expected 0); "
            "no trace was written, so code generation cannot be ruled out",
        )
    lines = starts.warm_stats.unreadable_lines
    unread = f"; {_plural(lines, 'line')} of the trace could not be read" if lines else ""
    return Check(
        id=InvariantId.NO_COMPILER,
        holds=misses == 0 and generations == 0 and not unread,
        misses=0 if generations or unread else misses,
        words=f"warm start had {_misses(misses)} (expected 0) "
        f"and {_plural(generations, 'code generation')} in the trace (expected 0){unread}",
    )


def _same_output(starts: Starts) -> Check:
    if starts.cold.command and not (starts.cold_facts.generated and starts.warm_facts.generated):
        return Check(
            id=InvariantId.SAME_OUTPUT,
            holds=True,
            words="cold and warm outputs: not checked, because what the command generated is not known",
            is_checked=False,
        )
    problem = difference(starts.cold_facts, starts.warm_facts)
    tokens = len(starts.cold_facts.generated)
    return Check(
        id=InvariantId.SAME_OUTPUT,
        holds=problem is None,
        words=f"cold and warm outputs: {problem or f'{tokens} tokens and their log-probabilities agree'}",
    )


def _ready_no_compiler(starts: Starts) -> Check:
    stats = {StartKind.COLD: starts.cold_stats, StartKind.WARM: starts.warm_stats}
    part = kernels.after_ready(
        {kind: each.kernels for kind, each in stats.items()},
        {record.kind: unexpected(record, stats[record.kind].rank) for record in (starts.cold, starts.warm)},
    )
    return Check(
        id=InvariantId.READY_NO_COMPILER,
        holds=part.holds,
        words=part.words,
        is_checked=part.is_checked,
        kernels=dict(part.broken_by),
        only_kernels=not part.holds,
    )


_INVARIANTS: dict[InvariantId, Callable[[Starts], Check]] = {
    InvariantId.COMPILES: _compiles,
    InvariantId.ONLY_UNIQUE: _only_unique,
    InvariantId.SAVES_NOTHING: _saves_nothing,
    InvariantId.LOADS_ALL: _loads_all,
    InvariantId.NO_COMPILER: _no_compiler,
    InvariantId.SAME_OUTPUT: _same_output,
    InvariantId.READY_NO_COMPILER: _ready_no_compiler,
}
_OF_COLD = (InvariantId.COMPILES, InvariantId.ONLY_UNIQUE)


def _compiled(starts: Starts) -> int:
    """Return how many artifacts the cold start saved; at depth trace, its unique subgraphs, each of which makes one."""
    stats = starts.cold_stats
    return stats.saved if starts.cold.depth.level.has_artifacts else stats.unique or 0


def _cold_start_compiled(starts: Starts) -> str:
    if starts.cold.depth.level.has_artifacts:
        return f"cold start saved {_artifacts(_compiled(starts))}"
    return f"cold start found {_plural(_compiled(starts), 'unique subgraph')}"


def _artifacts(n: int) -> str:
    return _plural(n, "artifact")


def _kinds(n: int) -> str:
    return _plural(n, "layer kind")


def _misses(n: int) -> str:
    return f"{n} AOTAutograd cache {'miss' if n == 1 else 'misses'}"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
