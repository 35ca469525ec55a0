"""Factors that depend on a metric: rules, controllers for training loops, and recorded decisions as plain schedules."""

from laju.adaptive.controller import Controller, across_ranks, apply, record, simulate
from laju.adaptive.rules import Greedy, GreedyState, Plateau, PlateauState, Rule, State, StateError

__all__ = [
    "Controller",
    "Greedy",
    "GreedyState",
    "Plateau",
    "PlateauState",
    "Rule",
    "State",
    "StateError",
    "across_ranks",
    "apply",
    "record",
    "simulate",
]
