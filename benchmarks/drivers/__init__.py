"""One module for each driver that is measured, run as `python -m benchmarks.drivers.<name> PLAN`.

Each connects as its documentation advises, to one host with one connection, and does the same work: `select` and
`sync1` read one row of ten columns and make it a Python row (named tuple, dict), `insert` binds eight values,
`scan_rows` and `coll_rows` page through 50,000 rows, 5,000 at a time, and make each a Python row.
"""
