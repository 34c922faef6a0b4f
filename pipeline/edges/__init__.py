"""Layer 3, the world, real and simulated side by side. Foreign errors are translated here and nowhere else."""
