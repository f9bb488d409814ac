"""One training, of one model or a stack of them: settings, configuration, optimizers, trainer, run directory."""
