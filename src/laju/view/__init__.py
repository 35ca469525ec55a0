"""Schedules as pictures: in the terminal, in files and in notebooks."""
