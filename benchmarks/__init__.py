"""The benchmark: what every method makes of the same starts, and at what cost."""

from lua_lightning.signals import begin

begin(__name__)
