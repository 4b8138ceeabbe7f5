"""What is solved: grid, conditions and coefficients, and from them A and b; knows h, never iterations."""
