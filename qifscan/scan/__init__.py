"""What is asked for: a scan as frozen data, with every mistake found before anything runs.

Names and defaults are in stores' fingerprints and stay; more can be checked. Begin with `scan`, then
`protocol`.
"""
