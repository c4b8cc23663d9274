"""Every way to a large image that the benchmark compares, one file each behind the contract in `contract.py`."""
