"""Multi-agent reinforcement learning: several operators, each with its own part of the grid.

Empty so far. Regions, messages and the PettingZoo environment come here; the grid physics
stays in `gridrl`.
"""
