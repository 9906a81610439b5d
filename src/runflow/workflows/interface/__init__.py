"""Inputs and outputs of a workflow, one by one."""
