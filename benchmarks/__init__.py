"""The benchmarks: one ruler for every driver, micro-benchmarks of the core, and what the driver costs its application.

`python -m benchmarks` runs them. Outside the layers: uses the driver's public names only. Modules under `drivers/` run
in processes of their own, some of them in the peers' virtual environment, so they (and what they import from here)
need nothing but the standard library and their driver.
"""
