"""What most programs want: calls, streams, topics and services between peers."""
