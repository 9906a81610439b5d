"""Retention: what is removed by itself, and when (decisions.md, "Runs")."""
