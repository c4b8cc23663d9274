"""`python -m lua_lightning`: the same as `lua-lightning`."""

import sys

from lua_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
