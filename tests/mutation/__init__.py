"""The mutation check: bugs that are put into a copy of the driver, each of which a test must find (`make mutants`)."""
