"""The engine: tasks, sockets and mailboxes; the only storey that knows Trio."""
