"""AC and DC power flow: one state is a batch of one."""

from gridrl.powerflow.flow import flow
from gridrl.powerflow.options import FlowOptions, FlowStatus
from gridrl.powerflow.result import FlowResult

__all__ = ["FlowOptions", "FlowResult", "FlowStatus", "flow"]
