"""Compiled serde core (layer: core): bytes in, Python values out, and back.

Imports no other part of the package but errors and util.
"""
