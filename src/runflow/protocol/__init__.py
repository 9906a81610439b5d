"""What server and worker say to each other, declared once (docs/worker-api.md).

Frozen dataclasses of the standard library: the worker makes and reads them with `codec`, the server checks what comes
in against the same declarations, bounds included, for workers are not trusted.
"""
