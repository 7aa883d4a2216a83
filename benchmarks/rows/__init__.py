"""The rows of the table: one module a family; each registers its rows when imported."""
