"""The one error that the benchmarks raise for what their user can put right."""


class BenchmarkError(Exception):
    """A benchmark cannot run; the text says what is missing or what failed, and what to do."""
