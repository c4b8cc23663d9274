"""Programs that write what the documentation shows; `make docs` and the targets that begin with `docs-`."""

from lua_lightning.signals import begin

begin(__name__)
