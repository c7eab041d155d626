"""What generators, cameras and compression leave in frequencies and in noise: statistics of native pixels."""
