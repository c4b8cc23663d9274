"""Recipes that bring photographs: `python -m data RECIPE --out data/NAME`. Run from a checkout; not in the wheel."""

from lua_lightning.signals import begin

begin(__name__)
