"""The version of the distribution, read by setup.cfg; imports nothing."""

__version__ = "0.1.0"
