"""The four engines of the local server behind small interfaces: voice activity, recogniser, brain, voice."""
