"""genfuse's kernels, one folder an op: contract (`spec`), `reference`, and one file a backend.

Nothing here imports genfuse.
"""
