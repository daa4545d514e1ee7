"""Support of the tests: a fake node with its own codec, bad servers, certificates, the invariant checker, the watchdog.

Nothing here imports geventcql; the invariant checker looks at its objects only when a test has imported it.
"""
