"""Adapters: one file a framework, each imported only by who uses that framework."""
