"""What happens: one short, cloud-neutral module per function."""
