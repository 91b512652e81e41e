"""What the plugin does on the optimizer's side of a training."""
