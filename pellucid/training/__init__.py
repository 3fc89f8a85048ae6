"""Loss, schedule, one step, the loop, checkpoints."""
