"""The swarm: Timmy itself, and the agents, tasks and bids around it."""
