"""How the checker runs a framework: the protocol, loading, and adapters in other processes."""
