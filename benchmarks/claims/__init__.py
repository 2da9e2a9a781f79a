"""Each claim of the method, measured in a world of imaginary birds: rows that differ in one thing, paired by seed."""
