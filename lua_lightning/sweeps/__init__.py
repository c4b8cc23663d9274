"""Sweeps: many trainings from one file, their table, and the search for loss weights."""
