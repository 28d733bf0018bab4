"""Observes the compilers of kernels: a probe for each, which adds its hooks once the library is imported.

Each probe is a module. `recorder` has what they share, `probe` is their base class.
"""
