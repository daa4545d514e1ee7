"""Fuzzing of the compiled core in a sanitizer build: `make fuzz`; docs/development/testing.md says how it works."""
