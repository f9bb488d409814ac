"""One training, of one model or a stack of them: settings, presets, optimizers, trainer, run directory."""
