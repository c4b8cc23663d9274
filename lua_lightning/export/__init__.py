"""Adapters in the form that other programs take them: one module a target, and the files that leave this project."""
