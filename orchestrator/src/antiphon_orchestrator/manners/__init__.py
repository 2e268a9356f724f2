"""What an agent says without being asked: when something breaks, takes long, or nobody speaks."""
