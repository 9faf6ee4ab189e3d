"""Scans over HTTP: a server that runs them and serves their stores, and the client in Python.

`jobs` queues, starts and cancels what was asked for, each job a process that `work` runs; `routes` answers,
and every request comes through `safety` first. `front` and `page` are what a browser shows of it; the
explorer of a store is a folder of its own. Begin with `app`, which lists the routes.
"""
