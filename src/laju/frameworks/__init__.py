"""Adapters: a file for each framework, imported only by users of that framework."""
