"""Several processes that do one run together: who they are, how they meet, and what they tell each other."""
