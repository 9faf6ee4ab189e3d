"""What is asked for: a scan as frozen data, with every mistake found before anything runs.

Names and defaults are in stores' fingerprints and stay; more can be checked. `readable` reads
TOML, JSON and the attributes of stores, `toml_text` writes. Begin with `scan`, then `protocol`.
"""
