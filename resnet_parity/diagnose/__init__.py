"""The diagnosis: two models that should be the same function and are not, and why."""
