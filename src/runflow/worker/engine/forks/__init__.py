"""Engines that are forked from a process which has imported everything already, instead of booted."""
