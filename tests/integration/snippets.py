"""Run the Python of a page in the current folder: `python snippets.py README.md`."""

import re
import sys
from pathlib import Path

for number, code in enumerate(re.findall(r"```python\n(.*?)```", Path(sys.argv[1]).read_text(), re.DOTALL)):
    exec(compile(code, f"{sys.argv[1]}, block {number}", "exec"), {"__name__": "__main__"})
    print(f"ran {code.splitlines()[0]}")
