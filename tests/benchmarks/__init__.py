"""Tests of the benchmarks: the replaying server, the statistics and the report. Nothing here measures a time."""
