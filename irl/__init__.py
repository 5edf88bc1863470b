"""Inverse reinforcement learning: what several operators want, read from what they do.

Empty so far. The core (decision process, likelihood, belief passing) will know no grid; one
module, ``irl.grid_task``, will connect it to `gridrl`.
"""
