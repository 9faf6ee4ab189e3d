"""Scans over HTTP: a server that runs them and serves their stores, and the client in Python.

Begin with `app`, which lists the routes; every request comes through `safety` first.
"""
