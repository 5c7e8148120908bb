"""What archon says about itself: metrics, health and cost. Only definitions and arithmetic, no I/O."""
