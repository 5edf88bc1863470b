"""Training of learned parts; the only place besides networks themselves that loads torch."""
