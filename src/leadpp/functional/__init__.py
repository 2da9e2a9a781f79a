"""Pure mathematics: tensors and numbers in and out."""
