"""What the screens show, worked out without a screen: pure, and tested so."""
