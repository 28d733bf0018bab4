"""The stages of compilation, as plain data."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """A stage of compilation. If several are open at the same time, the time counts towards the first of these.

    An engine has its own stages (`TraceVocabulary.stages`), which come just before Dynamo.
    """

    NATIVE = "C++/Triton compilation"
    LOAD = "cache load"
    CODE = "Inductor code generation"
    AOT = "AOTAutograd"
    DYNAMO = "Dynamo"
