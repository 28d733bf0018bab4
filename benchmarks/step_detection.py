"""Measures how often `coldwarm history --trend` finds a slowdown, and how often it finds one that is not there.

    python benchmarks/step_detection.py [HISTORIES]

The histories are simulated from the noise of real repeated starts (tests/data/repeated-starts.json): 20 nightly runs,
and 10 more in which one phase takes 20 % longer. A false alarm is one on any of the first 20 nights, from the 8th on.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from coldwarm.comparison.steps import SHORTEST_SERIES
from coldwarm.comparison.trend import trend_of
from tests.support.histories import Noise, history, share

HEALTHY = 20
SLOWER = 10
FACTOR = 1.2
PHASES = (("cold", "Dynamo"), ("cold", "AOTAutograd"), ("cold", "cache save"), ("warm", "cache load"))
FIRST_SEED = 10_000
"""Other histories than those of the tests."""


def detected(seed: int, phase: tuple[str, str], *, scale: float, starts: int) -> bool:
    """Return whether the slowdown is found when all slower runs have been made."""
    runs = history(HEALTHY + SLOWER, Noise(seed, scale=scale), slower=phase, since=HEALTHY, by=FACTOR, starts=starts)
    quantity = ": ".join(phase)
    return any(each.quantity == quantity and each.step.is_slower for each in trend_of(runs).times)


def alarmed(seed: int, *, scale: float, starts: int) -> bool:
    """Return whether a history without a slowdown has an alarm on any night."""
    runs = history(HEALTHY, Noise(seed, scale=scale), starts=starts)
    return any(trend_of(runs[:newest]).times for newest in range(SHORTEST_SERIES, HEALTHY + 1))


def main() -> None:
    """Print a table."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seeds = range(FIRST_SEED, FIRST_SEED + number)
    columns = [f"{': '.join(phase)} ({Noise(0).deviation(*phase):.0%})" for phase in PHASES]
    print(f"{number} histories; in parentheses: the deviation of the phase in the measured starts\n")
    print(f"| noise | starts per run | {' | '.join(columns)} | false alarm |")
    print(f"| --- | --- |{' --- |' * (len(columns) + 1)}")
    for scale in (1.0, 0.5):
        for starts in (1, 3, 5):
            name = "measured" if scale == 1 else f"{scale:g} times"
            print(f"| {name} | {starts} | {' | '.join(_rates(seeds, scale, starts))} |", flush=True)


def _rates(seeds: range, scale: float, starts: int) -> list[str]:
    rates = [share(seeds, partial(detected, phase=phase, scale=scale, starts=starts)) for phase in PHASES]
    false = share(seeds, partial(alarmed, scale=scale, starts=starts))
    return [*(f"{rate:.0%}" for rate in rates), f"{false:.1%}"]


if __name__ == "__main__":
    main()
