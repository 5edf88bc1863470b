"""AC and DC power flow: one state is a batch of one."""
