"""Recipes that bring photographs: `python -m data RECIPE --out data/NAME`. Run from a checkout; not in the wheel."""
