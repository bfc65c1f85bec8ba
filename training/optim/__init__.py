"""Optimization (section 5): update rule, learning rate schedule, dropout and initial weights."""
