"""Run a benchmark: `python -m benchmarks 512`."""

import sys

from benchmarks.run import main

sys.exit(main())
