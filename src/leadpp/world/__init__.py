"""A world of imaginary birds: species made of field-guide attributes, and photographs-like pictures of them."""
