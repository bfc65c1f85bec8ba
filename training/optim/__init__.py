"""Section 5: the update rule, the learning rate, dropout and the first weights."""
