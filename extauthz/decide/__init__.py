"""Request time: who asks, what for, and whether they may. Pure and synchronous: no clock, no I/O."""
