"""Named problems: a grid with its profiles, events, rules and operators.

Empty so far. ``scenarios.load(name)`` and ``scenarios.names()`` come here, with one TOML file
for each scenario.
"""
