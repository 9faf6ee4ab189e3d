"""What one asks of a finished scan: hysteresis, basins, tipping, pulses, residence times.

Each reads a dataset and returns one; nothing is simulated here. Begin with `hysteresis`.
"""
