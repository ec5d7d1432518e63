"""Training: run directories, optimisers, schedules, checkpoints, transfer learning, several devices."""
