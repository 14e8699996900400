"""Trains and tests the rows of a suite, one command for a whole table: see README.md."""
