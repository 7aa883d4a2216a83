"""Print the table of faults, for ``docs/faults.md``: ``python -m tests.faults``."""

from tests.faults.table import table

if __name__ == "__main__":
    print(table())
