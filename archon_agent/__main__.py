"""`python -m archon_agent`."""

from archon_agent.main import main

main()
