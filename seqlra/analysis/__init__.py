"""What a trained network shows: diagnostics, evaluation, samples, pictures."""
