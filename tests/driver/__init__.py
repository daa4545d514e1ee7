"""Tests of the driver layer against the fake node."""
