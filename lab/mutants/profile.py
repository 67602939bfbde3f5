"""A plugin of pytest: hypothesis makes the same examples each time, keeps none, and does not shrink what fails."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile(
    "mutants", database=None, derandomize=True, deadline=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("mutants")
