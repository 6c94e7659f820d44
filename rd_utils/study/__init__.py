"""What may be asked: families and specs, studies and notebooks' parameters, the plan that follows, and the graph of artefacts."""
