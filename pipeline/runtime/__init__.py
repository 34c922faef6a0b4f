"""Layer 3, actors, links and their life: knows trio, has never heard of audio."""
