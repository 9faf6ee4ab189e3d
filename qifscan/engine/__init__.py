"""A batch of points becomes numbers: the step of each point, the compiled loop, its noise and its checks.

`chunks` cuts a scan and `chunk_work` runs a chunk (the store writes it); `step_size` chooses the step of a
point, `points` runs each at its step and again at half of it, `batch` packs them for the compiled loop, whose
state is in `carries`. The order of operations in `block`, `noise_path` and `tangents` decides the last bits
(`tests/test_bits.py`). Begin with `points`.
"""
