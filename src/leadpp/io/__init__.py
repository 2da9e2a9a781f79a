"""Files that are whole, typed and traceable."""
