from __future__ import annotations

from coldwarm.core.record import ProcessReport, Program
from coldwarm.launch.command_start import _same_ranks, of_processes


def process(rank: int | None, engine: str = "vllm", **hardware: str) -> ProcessReport:
    program = Program(command="c", engine=engine, versions={"of": str(rank)}, hardware=hardware)
    return ProcessReport(rank=rank, program=program)


def test_the_engine_and_the_versions_are_those_of_the_first_rank() -> None:
    seen = of_processes([process(None, "torch"), process(1), process(0, gpu="H200")])
    assert seen.facts is not None
    assert (seen.engine, seen.device, seen.facts.versions) == ("vllm", "cuda", {"of": "0"})


def test_a_command_without_an_engine_is_a_program_of_torch() -> None:
    assert of_processes([process(None, "torch")]).engine == of_processes([]).engine == "torch"
    assert of_processes([]).device == "cpu"


def test_replicas_of_an_engine_are_refused() -> None:
    failure = _same_ranks([process(0), process(1), process(0)], "vllm")
    assert failure is not None
    assert "2 processes run rank 0 of a model, as with data parallelism" in failure.what
    assert _same_ranks([process(0), process(1), process(None), process(None)], "vllm") is None
    assert _same_ranks([process(0), process(0)], "torch") is None
