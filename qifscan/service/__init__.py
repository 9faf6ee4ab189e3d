"""Scans over HTTP: a server that runs them and serves their stores, and the client in Python.

Every request comes through `safety` first, and `routes` answers it. `requests` admits a scan or refuses it,
by the limits in `bounds`; `jobs` queues, starts and cancels what was admitted, each job a process of the
machine that `work` runs. `processes` describes what can be asked for, by the word that OGC has for it.
`front` and `page` are what a browser shows of it; the explorer of a store is a folder of its own.
Begin with `app`, which lists the routes.
"""
