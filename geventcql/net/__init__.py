"""Sockets, connections, pools, deadlines (layer: net): what waits for the network."""
