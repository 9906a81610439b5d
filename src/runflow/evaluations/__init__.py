"""Evaluations: quality verdicts on outputs, given by judges."""
