"""What others would write for the same job, each a server to be started and measured."""
